"""Decoding where memory is scarce: fewer images at once, then one image in strips of rows.

Strips have no seams, because nothing is decoded from a part of the picture alone: each group
norm has the moments of its whole feature map, and each convolution the row beyond its strip.
What is saved is all that a layer needs beside its input and its output, and the output of most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.models.vae import VAEDecoder, VAEDecoderConfig

ROWS = 64
"""Of a feature map that a strip has."""
WHOLE_MAPS = 5
"""Most memory that a whole decode takes, in maps of its largest kind: measured 4.4."""
SHARE_OF_FREE = 2
"""A decode may plan with the half of what is free: others are at work, too."""


def decode_within(decoder: VAEDecoder, latents: Tensor, free_bytes: int) -> Tensor:
    """Decode as many images at once as memory allows; in strips where not even one fits.

    Args:
        decoder: a model's.
        latents: (B, C, h, w), of unit variance.
        free_bytes: what the device has free; 0 where that is unknown: all are decoded at once.

    Returns:
        Pixels (B, 3, H, W), about -1 to 1: those of `decoder`, but for rounding.
    """
    at_once = free_bytes // SHARE_OF_FREE // whole_bytes(decoder.config, latents)
    if not free_bytes or at_once >= len(latents):
        pixels: Tensor = decoder(latents)
        return pixels
    if at_once:
        return torch.cat([decoder(part) for part in torch.split(latents, at_once)])
    return torch.cat([decode_in_strips(decoder, one) for one in torch.split(latents, 1)])


def whole_bytes(config: VAEDecoderConfig, latents: Tensor) -> int:
    """Estimate the memory that decoding one image of latents (B, C, h, w) at once takes."""
    _, _, height, width = latents.shape
    channels = max(config.block_out_channels[:2])
    positions = height * width * config.factor**2
    return WHOLE_MAPS * channels * positions * latents.element_size()


def decode_in_strips(decoder: VAEDecoder, latents: Tensor, rows: int = ROWS) -> Tensor:
    """Decode latents (B, C, h, w) to pixels (B, 3, H, W) in strips of so many rows."""
    inner: Any = decoder.decoder
    hidden = inner.mid_block(inner.conv_in(decoder.unscale(latents)))
    for block in inner.up_blocks:
        for resnet in block.resnets:
            hidden = _resnet(_plain(resnet), hidden, rows)
        for upsampler in block.upsamplers:
            hidden = _upsample(_plain(upsampler).conv, hidden, rows)
    norm = _Norm(inner.conv_norm_out, hidden, rows)
    return _mapped(
        hidden, inner.conv_out.out_channels, rows, lambda strip: strip.through(inner.conv_out, norm)
    )


@dataclass(frozen=True, slots=True)
class _Strip:
    """Rows of a feature map, and how many there are beyond them on each side: one or none."""

    source: Tensor
    begin: int
    end: int

    @property
    def inside(self) -> Tensor:
        """(B, C, rows, W)."""
        return self.source[:, :, self.begin : self.end]

    def through(self, convolution: nn.Module, prepare: Callable[[Tensor], Tensor]) -> Tensor:
        """Return what a 3x3 convolution makes of these rows, with their neighbours in view."""
        above = int(self.begin > 0)
        below = int(self.end < self.source.shape[2])
        seen = prepare(self.source[:, :, self.begin - above : self.end + below])
        made: Tensor = convolution(seen)
        return made[:, :, above : made.shape[2] - below]


class _Norm:
    """A group norm with SiLU, by the moments of a whole feature map; applied to parts of it."""

    def __init__(self, norm: nn.GroupNorm, whole: Tensor, rows: int) -> None:
        batch, channels, height, _ = whole.shape
        counted = [
            (
                strip.end - strip.begin,
                *torch.var_mean(
                    strip.inside.float().reshape(batch, norm.num_groups, -1), dim=2, correction=0
                ),
            )
            for strip in _strips(whole, rows)
        ]
        mean = sum((part * count for count, _, part in counted), torch.zeros(())) / height
        variance = (
            sum(
                ((inner + (part - mean).square()) * count for count, inner, part in counted),
                torch.zeros(()),
            )
            / height
        )
        each = channels // norm.num_groups
        scale = (variance + norm.eps).rsqrt().repeat_interleave(each, dim=1) * norm.weight
        shift = norm.bias - mean.repeat_interleave(each, dim=1) * scale
        self._scale = scale.to(whole.dtype)[:, :, None, None]
        self._shift = shift.to(whole.dtype)[:, :, None, None]

    def __call__(self, part: Tensor) -> Tensor:
        return functional.silu(torch.addcmul(self._shift, part, self._scale), inplace=True)


def _plain(part: Any) -> Any:
    """Return diffusers' part, of a fused one that which it stands for."""
    return getattr(part, "plain", part)


def _resnet(block: Any, hidden: Tensor, rows: int) -> Tensor:
    """Run a residual block; uses ``hidden`` up."""
    norm = _Norm(block.norm1, hidden, rows)
    between = _mapped(
        hidden, block.conv1.out_channels, rows, lambda strip: strip.through(block.conv1, norm)
    )
    norm = _Norm(block.norm2, between, rows)
    shortcut = block.conv_shortcut or nn.Identity()
    # In place of what it is made of. The last row of a strip is the next one's neighbour.
    last_row = between[:, :, :0]
    for strip in _strips(between, rows):
        seen = torch.cat([last_row, between[:, :, strip.begin : strip.end + 1]], dim=2)
        above = last_row.shape[2]
        last_row = between[:, :, strip.end - 1 : strip.end].clone()
        made = _Strip(seen, above, above + strip.end - strip.begin).through(block.conv2, norm)
        torch.add(made, shortcut(hidden[:, :, strip.begin : strip.end]), out=strip.inside)
    return between


def _upsample(convolution: nn.Conv2d, hidden: Tensor, rows: int) -> Tensor:
    batch, _, height, width = hidden.shape
    made = hidden.new_empty(batch, convolution.out_channels, 2 * height, 2 * width)
    for strip in _strips(hidden, max(1, rows // 2)):
        above = int(strip.begin > 0)
        below = int(strip.end < height)
        seen = hidden[:, :, strip.begin - above : strip.end + below]
        drawn = convolution(functional.interpolate(seen, scale_factor=2.0, mode="nearest"))
        made[:, :, 2 * strip.begin : 2 * strip.end] = drawn[
            :, :, 2 * above : drawn.shape[2] - 2 * below
        ]
    return made


def _mapped(source: Tensor, channels: int, rows: int, make: Callable[[_Strip], Tensor]) -> Tensor:
    batch, _, height, width = source.shape
    made = source.new_empty(batch, channels, height, width)
    for strip in _strips(source, rows):
        made[:, :, strip.begin : strip.end] = make(strip)
    return made


def _strips(source: Tensor, rows: int) -> Iterator[_Strip]:
    height = source.shape[2]
    for begin in range(0, height, rows):
        yield _Strip(source, begin, min(begin + rows, height))
