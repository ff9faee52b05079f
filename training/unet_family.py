"""A family of U-Net-NAS, and what its members cost.

Every member runs: its up blocks take exactly the skip states that its down blocks emit, of
the right width and resolution. The cost of a member is the sum of the costs of its parts,
each of which is measured once, on the meta device.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.upsampling import Upsample2D
from numpy.typing import NDArray
from torch import nn

from worker.models.blocks import BlockParts
from worker.models.measure import count
from worker.models.unet import UNetNAS

SIDE = 64
"""Latent positions of a 512-pixel image, to the side."""
TEXT_TOKENS = 77
TEXT_WIDTH = 768
TEMB_WIDTH = 1280
HEADS = 8
PARTS = BlockParts(
    temb_width=TEMB_WIDTH,
    resnet_eps=1e-5,
    activation="silu",
    norm_groups=32,
    heads=HEADS,
    context_width=TEXT_WIDTH,
    mix=True,
)

Cost = NDArray[np.int64]
"""Parameters, and multiply-accumulates of convolutions and linear layers for one sample."""


@dataclass(frozen=True, slots=True)
class Member:
    """One U-Net of the family. Lists run from the finest level to the deepest."""

    channels: tuple[int, ...]
    resnets: tuple[int, ...]
    """Of each down block; the up block of that level has one more."""
    attentions: tuple[int, ...]
    """Of each level, divided between its down and its up block as its resnets are."""
    mid_resnets: int
    mid_attentions: int
    halves_bottom: bool
    """Whether the mid block works on half the deepest level's resolution."""

    def configurations(self) -> dict[str, Any]:
        """Return the settings of ``flexible_unet/config.json``."""
        levels = len(self.channels)
        down = [
            round(attentions * resnets / (2 * resnets + 1))
            for attentions, resnets in zip(self.attentions, self.resnets, strict=True)
        ]
        up = [both - one for both, one in zip(self.attentions, down, strict=True)]
        return {
            "sample_size": SIDE,
            "cross_attention_dim": TEXT_WIDTH,
            "add_upsample_mid_block": self.halves_bottom,
            "mix_block_in_forward": True,
            "down_blocks_in_channels": [self.channels[0], *self.channels[:-1]],
            "down_blocks_out_channels": list(self.channels),
            "down_blocks_num_resnets": list(self.resnets),
            "down_blocks_num_attentions": down,
            "add_downsample": [True] * (levels - 1) + [self.halves_bottom],
            "prev_output_channels": [self.channels[-1], *self.channels[:0:-1]],
            "up_blocks_num_resnets": [resnets + 1 for resnets in reversed(self.resnets)],
            "up_blocks_num_attentions": up[::-1],
            "add_upsample": [True] * (levels - 1) + [False],
            "temb_dim": TEMB_WIDTH,
            "resnet_eps": 1e-5,
            "resnet_act_fn": "silu",
            "num_attention_heads": HEADS,
            "mid_num_resnets": self.mid_resnets,
            "mid_num_attentions": self.mid_attentions,
        }


def cost(member: Member) -> Cost:
    """Add up what a member's parts cost."""
    return _trunk_cost(member.channels[0]) + _blocks_cost(member)


def _blocks_cost(member: Member) -> Cost:
    total = np.array(member.attentions) @ attention_costs(member.channels)
    side, before = SIDE, member.channels[0]
    for level, (width, resnets) in enumerate(zip(member.channels, member.resnets, strict=True)):
        total += _resnet_cost(before, width, side) + (resnets - 1) * _resnet_cost(
            width, width, side
        )
        # Up: from the level below, then its own skips, then the one that came from above.
        below = member.channels[min(level + 1, len(member.channels) - 1)]
        widths = [below] + [width] * resnets
        skips = [width] * resnets + [before]
        total += sum(
            _resnet_cost(hidden + skip, width, side)
            for hidden, skip in zip(widths, skips, strict=True)
        )
        is_deepest = level == len(member.channels) - 1
        if not is_deepest or member.halves_bottom:
            total += _downsampler_cost(width, side) + _upsampler_cost(below, side // 2)
            side //= 2
        before = width
    middle = _resnet_cost(before, before, side)
    # Its first resnet has one set of weights and runs twice.
    total += (1 + member.mid_resnets) * middle + middle * np.array([0, 1])
    return total + member.mid_attentions * _transformer_cost(before, side)


@cache
def attention_costs(channels: tuple[int, ...]) -> Cost:
    """Return the cost of one attention at each level, (levels, 2)."""
    return np.stack([_transformer_cost(c, SIDE >> level) for level, c in enumerate(channels)])


@cache
def _trunk_cost(base: int) -> Cost:
    """Return what is left of a smallest U-Net without its blocks."""
    smallest = Member((base,), (1,), (0,), 0, 0, halves_bottom=False)
    with torch.device("meta"):
        network = UNetNAS(smallest.configurations())
        inputs = (
            torch.zeros(1, 4, SIDE, SIDE),
            torch.zeros(1, dtype=torch.int64),
            torch.zeros(1, TEXT_TOKENS, TEXT_WIDTH),
        )
    return _cost(network, *inputs) - _blocks_cost(smallest)


@cache
def _resnet_cost(in_channels: int, out_channels: int, side: int) -> Cost:
    with torch.device("meta"):
        resnet = PARTS.resnet(in_channels, out_channels)
        return _cost(resnet, _map(in_channels, side), torch.zeros(1, TEMB_WIDTH))


@cache
def _transformer_cost(channels: int, side: int) -> Cost:
    with torch.device("meta"):
        (transformer,) = PARTS.transformers(1, channels)
        return _cost(transformer, _map(channels, side), torch.zeros(1, TEXT_TOKENS, TEXT_WIDTH))


@cache
def _downsampler_cost(channels: int, side: int) -> Cost:
    with torch.device("meta"):
        sampler = Downsample2D(channels, use_conv=True, out_channels=channels, padding=1, name="op")
        return _cost(sampler, _map(channels, side))


@cache
def _upsampler_cost(channels: int, side: int) -> Cost:
    with torch.device("meta"):
        sampler = Upsample2D(channels, use_conv=True, out_channels=channels)
        return _cost(sampler, _map(channels, side))


def _map(channels: int, side: int) -> torch.Tensor:
    return torch.zeros(1, channels, side, side)


def _cost(network: nn.Module, *inputs: torch.Tensor) -> Cost:
    work = count(network, *inputs)
    return np.array([work.parameters, work.layer_macs])
