"""A member's weights are slices of the largest member's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from training.search.family import Trunk
from training.search.slices import Slices
from training.search.space import SMALL, Space
from worker.models.unet import UNetNAS

TINY = Space(
    trunk=Trunk(
        side=8,
        latent_channels=3,
        text_tokens=5,
        text_width=8,
        temb_width=16,
        heads=2,
        norm_groups=4,
    ),
    widths=((8, 16), (8, 12, 24)),
    max_resnets=2,
    max_mid_resnets=1,
)


@pytest.mark.parametrize("space", [TINY, SMALL], ids=["tiny", "small"])
def test_every_weight_of_any_member_is_a_slice_of_its_shape(space: Space) -> None:
    generator = torch.Generator().manual_seed(0)
    largest = space.largest()
    with torch.device("meta"):
        theirs = UNetNAS(largest.configurations(space.trunk)).state_dict()
    for _ in range(20):
        member = space.draw(generator)
        slices = Slices(member, largest, space.trunk).by_name
        with torch.device("meta"):
            mine = UNetNAS(member.configurations(space.trunk)).state_dict()
        for name, weight in mine.items():
            source = theirs[slices[name].name]
            found = slices[name].of(source)
            assert found.shape == weight.shape, (member, name)
            for place, length in zip(slices[name].places, source.shape, strict=False):
                assert place is None or int(place.max()) < length


def test_no_place_of_the_largest_is_taken_twice_and_it_takes_itself_whole() -> None:
    largest = TINY.largest()
    slices = Slices(largest, largest, TINY.trunk).by_name
    network = UNetNAS(largest.configurations(TINY.trunk))
    for name, weight in network.state_dict().items():
        assert slices[name].name == name
        assert torch.equal(slices[name].of(weight), weight)


def test_equal_widths_of_two_levels_do_not_mix_up_their_heads() -> None:
    member = replace(TINY.largest(), channels=(8, 8))
    slices = Slices(member, TINY.largest(), TINY.trunk).by_name
    fine = slices["down_blocks.0.modules_list.1.transformer_blocks.0.attn1.to_q.weight"]
    deep = slices["down_blocks.1.modules_list.1.transformer_blocks.0.attn1.to_q.weight"]
    assert fine.places[0] is not None
    assert fine.places[0].tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert deep.places[0] is not None
    assert deep.places[0].tolist() == [0, 1, 2, 3, 12, 13, 14, 15]


def test_joined_channels_are_the_first_of_both() -> None:
    member = replace(TINY.largest(), channels=(8, 12))
    slices = Slices(member, TINY.largest(), TINY.trunk).by_name
    # Up to the finest level: what comes from below, then its own last skip state.
    places = slices["up_blocks.1.modules_list.0.conv1.weight"].places[1]
    assert places is not None
    assert places.tolist() == [*range(12), *range(24, 32)]


def test_the_resnet_that_meets_the_state_from_above_is_always_the_last() -> None:
    member = replace(TINY.largest(), resnets=(1, 1), attentions=(0, 0))
    slices = Slices(member, TINY.largest(), TINY.trunk).by_name
    largest = UNetNAS(TINY.largest().configurations(TINY.trunk))
    last = [
        index
        for index, module in enumerate(largest.up_blocks[0].modules_list)
        if hasattr(module, "conv1")
    ][-1]
    assert slices["up_blocks.0.modules_list.1.conv1.weight"].name == (
        f"up_blocks.0.modules_list.{last}.conv1.weight"
    )
