"""U-Net-NAS against a second reading of the published layout, which can be got wrong at will."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from support.families import FLEXIBLE, FLEXIBLE_2
from support.reference_unet import BREAKS, ReferenceUNet
from support.small_unet import TWO_BLOCKS
from worker.models.unet import UNetNAS

PLAIN_MID = {"add_upsample_mid_block": False, "add_downsample": [True, False]}
CONFIGS: dict[str, dict[str, Any]] = {
    "two blocks": TWO_BLOCKS,
    "two blocks, unmixed": TWO_BLOCKS | {"mix_block_in_forward": False},
    "two blocks, no mid upsampler": TWO_BLOCKS | PLAIN_MID,
    "two blocks, more in the middle": TWO_BLOCKS
    | PLAIN_MID
    | {"mid_num_resnets": 2, "mid_num_attentions": 3, "mix_block_in_forward": False},
    "three blocks": FLEXIBLE,
    "three blocks, unmixed": FLEXIBLE_2,
}
FAINT = 1e-3
"""Weights so small that what norms add to a variance shows."""
SIZES = [(8, 8), (16, 8), (9, 11), (7, 13)]


@cache
def make(name: str, *, faint: bool = False) -> UNetNAS:
    """Make a network in which no weight is what it was initialised to."""
    torch.manual_seed(3)
    network = UNetNAS(CONFIGS[name]).eval().requires_grad_(False)
    for tensor_name, tensor in network.named_parameters():
        if tensor.dim() > 1:
            torch.nn.init.normal_(tensor, std=tensor[0].numel() ** -0.5)
        else:
            torch.nn.init.normal_(tensor, mean=float("weight" in tensor_name), std=0.2)
        if faint and tensor_name.split(".")[-2] in {"conv_in", "conv2", "conv_shortcut", "conv"}:
            tensor.mul_(FAINT)
    return network


def inputs(size: tuple[int, int] = (8, 8), width: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return (
        torch.randn(2, 4, *size, generator=generator),
        torch.tensor([7, 902]),
        torch.randn(2, 5, width, generator=generator),
    )


@cache
def predicted(name: str, *, faint: bool) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Return what goes into a network and what comes out of it."""
    network = make(name, faint=faint)
    arguments = inputs(width=network.config.cross_attention_dim)
    return arguments, network(*arguments)


def difference(name: str, breaks: Iterable[str], *, faint: bool = False) -> float:
    """Return how far the reference is from the product, as a share of what they predict."""
    arguments, ours = predicted(name, faint=faint)
    try:
        theirs = ReferenceUNet(make(name, faint=faint).state_dict(), CONFIGS[name], breaks)(
            *arguments
        )
    except (KeyError, RuntimeError, IndexError):
        return float("inf")  # a name, a shape or a number of skips gave it away
    if theirs.shape != ours.shape:
        return float("inf")
    return float((ours - theirs).abs().max() / ours.abs().max())


@pytest.mark.parametrize("faint", [False, True], ids=["", "faint"])
@pytest.mark.parametrize("name", CONFIGS)
def test_it_predicts_what_the_reference_predicts(name: str, faint: bool) -> None:  # noqa: FBT001
    assert difference(name, (), faint=faint) < 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_the_reference_uses_every_tensor_by_name(name: str) -> None:
    state = make(name).state_dict()
    reference = ReferenceUNet(state, CONFIGS[name])
    reference(*predicted(name, faint=False)[0])
    assert reference.used == set(state)


@pytest.mark.parametrize("broken", BREAKS)
def test_the_comparison_sees_each_thing_that_can_be_got_wrong(broken: str) -> None:
    assert any(
        difference(name, [broken], faint=faint) > 1e-2
        for faint in (False, True)
        for name in CONFIGS
    )


def test_each_of_the_seven_points_can_be_broken() -> None:
    assert set(BREAKS.values()) == {1, 2, 3, 4, 5, 6, 7}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["two blocks", "two blocks, no mid upsampler", "three blocks"])
def test_latents_of_any_size_come_back_in_that_size(name: str, size: tuple[int, int]) -> None:
    network = make(name)
    arguments = inputs(size, network.config.cross_attention_dim)
    ours = network(*arguments)
    assert ours.shape[2:] == size
    torch.testing.assert_close(
        ours, ReferenceUNet(network.state_dict(), CONFIGS[name])(*arguments), rtol=0, atol=1e-5
    )
