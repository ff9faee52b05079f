"""A family of U-Net-NAS.

Every member runs: its up blocks take exactly the skip states that its down blocks emit, of
the right width and resolution.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Trunk:
    """What all members of a family have in common."""

    side: int
    """Latent positions to the side."""
    latent_channels: int
    text_tokens: int
    text_width: int
    temb_width: int
    heads: int
    norm_groups: int = 32


SD_TRUNK = Trunk(
    side=64, latent_channels=4, text_tokens=77, text_width=768, temb_width=1280, heads=8
)
"""Stable Diffusion 1.5's, at 512 pixels."""


class Kind(StrEnum):
    """What a part of a member does."""

    RESNET = "resnet"
    TRANSFORMER = "transformer"
    DOWNSAMPLER = "downsampler"
    UPSAMPLER = "upsampler"
    TRUNK = "trunk"
    """The convolutions at both ends, the last norm and the embedding of the timestep."""


class Part(NamedTuple):
    """One module of a member, by what decides its cost."""

    kind: Kind
    in_channels: int
    out_channels: int
    side: int
    """Positions to the side of what goes in."""


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

    def configurations(self, trunk: Trunk) -> dict[str, Any]:
        """Return the settings of ``flexible_unet/config.json``."""
        levels = len(self.channels)
        settings = {
            "sample_size": trunk.side,
            "cross_attention_dim": trunk.text_width,
            "add_upsample_mid_block": self.halves_bottom,
            "mix_block_in_forward": True,
            "down_blocks_in_channels": [self.channels[0], *self.channels[:-1]],
            "down_blocks_out_channels": list(self.channels),
            "down_blocks_num_resnets": list(self.resnets),
            "down_blocks_num_attentions": list(self.down_attentions),
            "add_downsample": [True] * (levels - 1) + [self.halves_bottom],
            "prev_output_channels": [self.channels[-1], *self.channels[:0:-1]],
            "up_blocks_num_resnets": [resnets + 1 for resnets in reversed(self.resnets)],
            "up_blocks_num_attentions": [
                both - down
                for both, down in zip(self.attentions, self.down_attentions, strict=True)
            ][::-1],
            "add_upsample": [True] * (levels - 1) + [False],
            "temb_dim": trunk.temb_width,
            "resnet_eps": 1e-5,
            "resnet_act_fn": "silu",
            "num_attention_heads": trunk.heads,
            "mid_num_resnets": self.mid_resnets,
            "mid_num_attentions": self.mid_attentions,
        }
        if trunk == SD_TRUNK:
            return settings
        return settings | {
            "in_channels": trunk.latent_channels,
            "out_channels": trunk.latent_channels,
            "norm_num_groups": trunk.norm_groups,
        }

    @property
    def down_attentions(self) -> tuple[int, ...]:
        """How many of each level's attentions are on the way down."""
        return tuple(
            round(attentions * resnets / (2 * resnets + 1))
            for attentions, resnets in zip(self.attentions, self.resnets, strict=True)
        )

    def parts(self, side: int) -> Counter[Part]:
        """Count the modules that run for one prediction, on latents of so many positions a side.

        The mid block's first resnet runs twice, and is counted twice.
        """
        found: Counter[Part] = Counter()
        base = before = self.channels[0]
        found[Part(Kind.TRUNK, base, base, side)] += 1
        for level, (width, resnets) in enumerate(zip(self.channels, self.resnets, strict=True)):
            found[Part(Kind.RESNET, before, width, side)] += 1
            found[Part(Kind.RESNET, width, width, side)] += resnets - 1
            # Up: from the level below, then its own skips, then the one that came from above.
            below = self.channels[min(level + 1, len(self.channels) - 1)]
            widths = [below] + [width] * resnets
            skips = [width] * resnets + [before]
            found.update(
                Part(Kind.RESNET, hidden + skip, width, side)
                for hidden, skip in zip(widths, skips, strict=True)
            )
            found[Part(Kind.TRANSFORMER, width, width, side)] += self.attentions[level]
            if level < len(self.channels) - 1 or self.halves_bottom:
                found[Part(Kind.DOWNSAMPLER, width, width, side)] += 1
                found[Part(Kind.UPSAMPLER, below, below, side // 2)] += 1
                side //= 2
            before = width
        found[Part(Kind.RESNET, before, before, side)] += 2 + self.mid_resnets
        found[Part(Kind.TRANSFORMER, before, before, side)] += self.mid_attentions
        return +found
