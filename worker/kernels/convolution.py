"""A residual block's convolutions on tensors of the processor: normalize, activate, filter, add."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from worker.kernels.compiling import as_many_threads_as_torch
from worker.kernels.normalization import Array, Factors, GroupNorm, group_norm_factors
from worker.kernels.winograd import (
    PLACES,
    TILE,
    Tiles,
    transform_filters,
    transform_input,
    transform_output,
)

BYTES_A_NUMBER = 4
LEAST_BLOCK_BYTES = 24 * 2**20
"""Of what lies between the transforms: about what stays in a processor's cache."""
PIECES_OF_SUMS = 8
NONE = Factors(*np.empty((2, 1, 0), np.float32))

_workspace = np.empty(0, np.float32)
"""Of whoever runs kernels, one at a time. Fresh memory would cost as much as a transform."""


def winograd_filters(weight: Tensor) -> Tensor:
    """Transform filters (K, C, 3, 3) to (36, C, K), once for all convolutions with them."""
    outputs, inputs, _, _ = weight.shape
    transformed = torch.empty(PLACES, outputs, inputs)
    with as_many_threads_as_torch():
        transform_filters(_channels_last(weight), transformed.numpy())
    return transformed.transpose(1, 2)


def normalization_of(images: Tensor, norm: nn.GroupNorm) -> Factors:
    """Return what normalizes images (N, C, H, W)."""
    count, channels, height, width = images.shape
    factors = Factors(*np.empty((2, count, channels), np.float32))
    sums = np.empty((count, PIECES_OF_SUMS, 2, channels))
    positions = _channels_last(images).reshape(count, height * width, channels)
    settings = GroupNorm(norm.weight.numpy(), norm.bias.numpy(), norm.num_groups, norm.eps)
    with as_many_threads_as_torch():
        group_norm_factors(positions, sums, settings, factors)
    return factors


def convolve(
    images: Tensor,
    filters: Tensor,
    shift: Tensor,
    *,
    factors: Factors | None = None,
    doubles: bool = False,
    residual: Tensor | None = None,
) -> Tensor:
    """Convolve with 3 x 3 filters, padded by one.

    Args:
        images: (N, C, H, W), float32; quickest where channels are last.
        filters: from `winograd_filters`, (36, C, K).
        shift: (N, K), is added at each position.
        factors: where given, SiLU of the input normalized with them is convolved.
        doubles: whether the input is enlarged to twice its sides first, by its nearest values.
        residual: (N, K, H, W), is added.

    Returns:
        (N, K, H, W), or twice the sides, channels last.
    """
    count, channels, height, width = images.shape
    factor = 2 if doubles else 1
    height, width = factor * height, factor * width
    outputs = filters.shape[2]
    result = torch.empty((count, outputs, height, width), memory_format=torch.channels_last)
    source, target = _channels_last(images), _channels_last(result)
    added = target[:0] if residual is None else _channels_last(residual)
    high, wide = -(-height // TILE), -(-width // TILE)
    tiles = count * high * wide
    block = min(tiles, _tiles_at_once(filters))
    with as_many_threads_as_torch():
        windows, products = _space(block, channels, outputs)
        for first in range(0, tiles, block):
            some = Tiles(first, high, wide)
            before = windows[:, : tiles - first]
            after = products[:, : tiles - first]
            transform_input(source, factor, factors or NONE, some, before)
            torch.bmm(torch.from_numpy(before), filters, out=torch.from_numpy(after))
            transform_output(after, shift.numpy(), added, some, target)
    return result


def _tiles_at_once(filters: Tensor) -> int:
    """Return how many tiles make as much as filters hold: these are read again for each block."""
    places, channels, outputs = filters.shape
    size = max(LEAST_BLOCK_BYTES, filters.numel() * BYTES_A_NUMBER)
    return int(size // (places * (channels + outputs) * BYTES_A_NUMBER))


def _space(tiles: int, channels: int, outputs: int) -> tuple[Array, Array]:
    # No tensor of torch's: one made in inference mode could not be written to outside of it.
    global _workspace  # noqa: PLW0603 - one a process, as large as its largest block
    between = PLACES * tiles * channels
    needed = between + PLACES * tiles * outputs
    if len(_workspace) < needed:
        _workspace = np.empty(needed, np.float32)
    windows, products = _workspace[:between], _workspace[between:needed]
    return windows.reshape(PLACES, tiles, channels), products.reshape(PLACES, tiles, outputs)


def _channels_last(images: Tensor) -> Array:
    """Return (N, H, W, C) of (N, C, H, W), of the same memory where that lies so."""
    array: Array = images.permute(0, 2, 3, 1).contiguous().numpy()
    return array
