"""A small decoder that was taught what a model's own decoder does: convolutions, and no norms.

After TAESD (Ollin Boer Bohan, https://github.com/madebyollin/taesd). It draws faster, and a
little otherwise: an image has it only where its job allows that.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor, nn

LATENT_BOUND = 3.0
"""Latents have unit variance. What is beyond is squeezed, so that it cannot blow up."""


class TinyDecoderConfig(BaseModel):
    """``tiny_vae/config.json``."""

    model_config = ConfigDict(frozen=True)

    latent_channels: int
    widths: tuple[int, ...] = (64, 48, 32)
    """Channels at each resolution; between two of them it doubles."""
    blocks: tuple[int, ...] = (3, 2, 1)
    """Residual blocks at each resolution."""
    last_factor: int = 2
    """Pixels that a position of the last feature map is wide and high."""
    out_channels: int = 3

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.widths) != len(self.blocks) or not self.widths:
            raise ValueError("needs as many blocks as widths")
        return self

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read a config.json; what it tells besides is left aside."""
        return cls(**document)

    @property
    def factor(self) -> int:
        """Pixels a latent position is wide and high."""
        return int(2 ** (len(self.widths) - 1)) * self.last_factor


class TinyDecoder(nn.Module):
    """Maps latents to pixels, as `VAEDecoder` does."""

    def __init__(self, config: TinyDecoderConfig) -> None:
        super().__init__()
        self.config = config
        widths, blocks = config.widths, config.blocks
        self.conv_in = _convolution(config.latent_channels, widths[0])
        self.levels = nn.ModuleList(
            nn.Sequential(*(_Block(width) for _ in range(count)))
            for width, count in zip(widths, blocks, strict=True)
        )
        self.upsamplers = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), _convolution(before, after))
            for before, after in pairwise(widths)
        )
        self.conv_out = _convolution(widths[-1], config.out_channels * config.last_factor**2)
        self.shuffle = nn.PixelShuffle(config.last_factor)

    def forward(self, latents: Tensor) -> Tensor:
        """Decode unit-variance latents (B, C, h, w) to pixels (B, 3, H, W), about -1 to 1."""
        bounded = torch.tanh(latents / LATENT_BOUND) * LATENT_BOUND
        hidden = self.levels[0](torch.relu(self.conv_in(bounded)))
        for upsampler, level in zip(self.upsamplers, self.levels[1:], strict=True):
            hidden = level(upsampler(hidden))
        pixels: Tensor = self.shuffle(self.conv_out(hidden))
        return pixels


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = _convolution(channels, channels)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.relu(hidden + self.second(torch.relu(self.first(hidden))))


def _convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
