"""What members cost: the sum of what their parts cost, each counted once, on the meta device."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.upsampling import Upsample2D
from numpy.typing import NDArray
from torch import nn

from training.search.family import Kind, Member, Part, Trunk
from worker.models.blocks import BlockParts
from worker.models.measure import count
from worker.models.unet import UNetNAS

Cost = NDArray[np.int64]
"""Parameters, and multiply-accumulates of convolutions and linear layers for one sample."""


def cost(member: Member, trunk: Trunk) -> Cost:
    """Add up what a member's parts cost."""
    total = np.zeros(2, np.int64)
    for part, times in member.parts(trunk.side).items():
        total += times * part_cost(part, trunk)
    # The mid block's first resnet has one set of weights and runs twice.
    side = trunk.side >> (len(member.channels) - 1 + member.halves_bottom)
    middle = part_cost(Part(Kind.RESNET, member.channels[-1], member.channels[-1], side), trunk)
    total -= middle * np.array([1, 0])
    return total


@cache
def attention_costs(channels: tuple[int, ...], trunk: Trunk) -> Cost:
    """Return the cost of one attention at each level, (levels, 2)."""
    return np.stack(
        [
            part_cost(Part(Kind.TRANSFORMER, width, width, trunk.side >> level), trunk)
            for level, width in enumerate(channels)
        ]
    )


def block_parts(trunk: Trunk) -> BlockParts:
    """Return what makes a family's resnets and transformers."""
    return BlockParts(
        temb_width=trunk.temb_width,
        resnet_eps=1e-5,
        activation="silu",
        norm_groups=trunk.norm_groups,
        heads=trunk.heads,
        context_width=trunk.text_width,
        mix=True,
    )


@cache
def part_cost(part: Part, trunk: Trunk) -> Cost:
    """Return what one part costs."""
    if part.kind is Kind.TRUNK:
        return _trunk_cost(part.in_channels, trunk)
    shape = (1, part.in_channels, part.side, part.side)
    with torch.device("meta"):
        hidden = torch.zeros(shape)
        module = make_part(part, trunk)
        if part.kind is Kind.RESNET:
            return _cost(module, hidden, torch.zeros(1, trunk.temb_width))
        if part.kind is Kind.TRANSFORMER:
            return _cost(module, hidden, torch.zeros(1, trunk.text_tokens, trunk.text_width))
        return _cost(module, hidden)


def make_part(part: Part, trunk: Trunk) -> nn.Module:
    """Return a part, untrained; not the trunk, which is no module.

    Raises:
        ValueError: the part is the trunk.
    """
    match part.kind:
        case Kind.RESNET:
            return block_parts(trunk).resnet(part.in_channels, part.out_channels)
        case Kind.TRANSFORMER:
            (transformer,) = block_parts(trunk).transformers(1, part.in_channels)
            return transformer
        case Kind.DOWNSAMPLER:
            width = part.in_channels
            return Downsample2D(width, use_conv=True, out_channels=width, padding=1, name="op")
        case Kind.UPSAMPLER:
            width = part.in_channels
            return Upsample2D(width, use_conv=True, out_channels=width)
    raise ValueError(f"{part.kind} is no module")


@cache
def _trunk_cost(base: int, trunk: Trunk) -> Cost:
    """Return what is left of a smallest U-Net without its blocks."""
    smallest = Member((base,), (1,), (0,), 0, 0, halves_bottom=False)
    with torch.device("meta"):
        network = UNetNAS(smallest.configurations(trunk))
        inputs = (
            torch.zeros(1, trunk.latent_channels, trunk.side, trunk.side),
            torch.zeros(1, dtype=torch.int64),
            torch.zeros(1, trunk.text_tokens, trunk.text_width),
        )
    resnet = part_cost(Part(Kind.RESNET, base, base, trunk.side), trunk)
    joined = part_cost(Part(Kind.RESNET, 2 * base, base, trunk.side), trunk)
    # One resnet down, two up, and one in the middle that runs twice.
    blocks: Cost = 2 * resnet + 2 * joined + resnet * np.array([0, 1])
    return _cost(network, *inputs) - blocks


def _cost(network: nn.Module, *inputs: torch.Tensor) -> Cost:
    work = count(network, *inputs)
    return np.array([work.parameters, work.layer_macs])
