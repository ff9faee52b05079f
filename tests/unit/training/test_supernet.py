"""One network's weights for all members, and the questions that they are asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from shared.errors import InputError
from training.search.exam import Exam
from training.search.family import Trunk
from training.search.proxy import Proxy, load_proxy, save_proxy
from training.search.space import SMALL, Space
from training.search.supernet import Supernet, draw_member

SPACE = Space(
    trunk=Trunk(
        side=4,
        latent_channels=2,
        text_tokens=3,
        text_width=8,
        temb_width=16,
        heads=2,
        norm_groups=4,
    ),
    widths=((8, 16), (8, 24)),
    max_resnets=2,
    max_mid_resnets=1,
)
LARGEST = SPACE.largest()
SMALLER = replace(LARGEST, channels=(8, 16), resnets=(1, 2), attentions=(0, 2))


def inputs(count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return (
        torch.randn(count, 2, 4, 4, generator=generator),
        torch.arange(count),
        torch.randn(count, 3, 8, generator=generator),
    )


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(SPACE)


def exam() -> Exam:
    noisy, timesteps, texts = inputs(6)
    held_out = torch.tensor([False, False, False, False, True, True])
    return Exam(noisy, noisy.flip(0), timesteps, texts, held_out)


def test_the_largest_member_is_the_whole_network(supernet: Supernet) -> None:
    noisy, timesteps, context = inputs(2)
    with torch.no_grad():
        found = supernet(noisy, timesteps, context, LARGEST)
        assert torch.equal(found, supernet.largest(noisy, timesteps, context))


def test_a_step_changes_only_the_weights_that_the_member_takes(supernet: Supernet) -> None:
    supernet.zero_grad()
    supernet(*inputs(2), SMALLER).square().mean().backward()
    gradients = {name: weight.grad for name, weight in supernet.largest.named_parameters()}
    # Half the width of the finest level, and none of its attentions.
    conv_in = gradients["conv_in.weight"]
    assert conv_in is not None
    assert conv_in[:8].abs().sum() > 0
    assert conv_in[8:].abs().sum() == 0
    assert gradients["down_blocks.0.modules_list.1.proj_in.weight"] is None


def test_each_step_has_its_member_and_the_largest_comes_again_and_again() -> None:
    drawn = [draw_member(SMALL, 5, step) for step in range(200)]
    assert drawn == [draw_member(SMALL, 5, step) for step in range(200)]
    assert drawn != [draw_member(SMALL, 6, step) for step in range(200)]
    assert len(set(drawn)) > 150
    assert 5 <= drawn.count(SMALL.largest()) <= 40


def test_marks_are_mean_squared_errors_of_both_kinds(supernet: Supernet) -> None:
    asked = exam()
    marks = asked.marks(lambda noisy, _timesteps, _texts: noisy)
    errors = [
        float((n - v).square().mean()) for n, v in zip(asked.noisy, asked.velocity, strict=True)
    ]
    assert marks.trained == pytest.approx(sum(errors[:4]) / 4)
    assert marks.held_out == pytest.approx(sum(errors[4:]) / 2)


def test_a_proxy_that_was_kept_says_the_same(supernet: Supernet, tmp_path: Path) -> None:
    proxy = Proxy(supernet, exam())
    save_proxy(proxy, tmp_path)
    again = load_proxy(tmp_path, SPACE)
    for member in (LARGEST, SMALLER):
        assert again(member) == pytest.approx(proxy(member), rel=1e-5)
    assert proxy(LARGEST) != proxy(SMALLER)


def test_a_proxy_of_another_space_or_none_is_refused(supernet: Supernet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"proxy\.safetensors"):
        load_proxy(tmp_path, SPACE)
    save_proxy(Proxy(supernet, exam()), tmp_path)
    with pytest.raises(InputError, match="another space"):
        load_proxy(tmp_path, replace(SPACE, widths=((8, 16), (8, 32))))


def test_levels_that_are_equally_wide_have_no_shortcut_to_share() -> None:
    with pytest.raises(ValueError, match="equally wide"):
        Supernet(replace(SPACE, widths=((8, 16), (8, 16))))


def test_a_member_that_was_examined_can_be_trained_with_afterwards(supernet: Supernet) -> None:
    member = replace(LARGEST, channels=(8, 24), mid_attentions=0)
    Proxy(supernet, exam())(member)
    supernet(*inputs(2), member).square().mean().backward()
