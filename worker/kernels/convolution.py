"""A residual block's convolutions on tensors of the processor: normalize, activate, filter, add."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor, nn

from worker.kernels.activation import silu_of
from worker.kernels.compiling import as_many_threads_as_torch, kernel, part
from worker.kernels.normalization import NONE, Array, Factors, GroupNorm, group_norm_factors
from worker.kernels.products import PANEL, ROWS, multiply_panel, packed
from worker.kernels.vectors import BYTES_A_NUMBER
from worker.kernels.winograd import (
    PLACES,
    TILE,
    WINDOW,
    transform_filters,
    transform_tile,
    transform_window,
)
from worker.kernels.workspace import taken

GRAIN = 16
"""Channels are a multiple of it: of any processor's vectors."""
LEAST_BLOCK_BYTES = 8 * 2**20
"""Of what lies between the transforms: about what stays in a processor's cache."""
POSITIONS_A_PIECE = 256
"""Of an image, whose sums are one thread's."""


class Filters(NamedTuple):
    """Filters of a convolution, transformed."""

    panels: Array
    """(36, panels, C, PANEL), as `packed` makes them."""
    outputs: int
    """K."""


class Strips(NamedTuple):
    """Some rows of tiles: of all images, one below the other."""

    first: int
    high: int
    """Rows of an image."""
    wide: int
    """Tiles of a row."""


class Space(NamedTuple):
    """What lies between the steps of a convolution."""

    rows: Array
    """(threads, 6, 4 tiles + 2, C): input of a row of tiles, activated, with its edges."""
    windows: Array
    """(36, tiles, C)."""
    products: Array
    """(36, tiles, panels * PANEL)."""


def winograd_filters(weight: Tensor) -> Filters:
    """Transform filters (K, C, 3, 3), multiples of `GRAIN`, for all convolutions with them."""
    outputs, inputs, _, _ = weight.shape
    transformed = np.empty((PLACES, outputs, inputs), np.float32)
    with as_many_threads_as_torch():
        transform_filters(_channels_last(weight), transformed)
    return Filters(packed(transformed), outputs)


def normalization_of(images: Tensor, norm: nn.GroupNorm) -> Factors:
    """Return what normalizes images (N, C, H, W)."""
    count, channels, height, width = images.shape
    factors = Factors(*np.empty((2, count, channels), np.float32))
    pieces = -(-height * width // POSITIONS_A_PIECE)
    sums = np.empty((count, pieces, 2, channels))
    positions = _channels_last(images).reshape(count, height * width, channels)
    settings = GroupNorm(norm.weight.numpy(), norm.bias.numpy(), norm.num_groups, norm.eps)
    with as_many_threads_as_torch():
        group_norm_factors(positions, sums, settings, factors)
    return factors


def convolve(
    images: Tensor,
    filters: Filters,
    shift: Tensor,
    *,
    factors: Factors | None = None,
    doubles: bool = False,
    residual: Tensor | None = None,
) -> Tensor:
    """Convolve with 3 x 3 filters, padded by one.

    Args:
        images: (N, C, H, W), float32; quickest where channels are last.
        filters: from `winograd_filters`, of (K, C, 3, 3).
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
    result = torch.empty((count, filters.outputs, height, width), memory_format=torch.channels_last)
    source, target = _channels_last(images), _channels_last(result)
    added = target[:0] if residual is None else _channels_last(residual)
    high, wide = -(-height // TILE), -(-width // TILE)
    strips = count * high
    at_once = min(strips, max(1, _tiles_at_once(filters, channels) // wide))
    with as_many_threads_as_torch() as threads:
        space = _space(threads, at_once * wide, wide, channels, filters)
        for first in range(0, strips, at_once):
            some = min(at_once, strips - first)
            convolve_strips(
                source,
                factor,
                factors or NONE,
                filters.panels,
                shift.numpy(),
                added,
                some,
                Strips(first, high, wide),
                space,
                target,
            )
    return result


@kernel
def convolve_strips(  # noqa: PLR0913, PLR0917 - what a convolution is of
    images: Array,
    factor: int,
    factors: Factors,
    panels: Array,
    shift: Array,
    residual: Array,
    count: int,
    strips: Strips,
    space: Space,
    target: Array,
) -> None:
    """Convolve some rows of tiles.

    Args:
        images: (N, H, W, C).
        factor: how often each position counts in height and in width (nearest upsampling).
        factors: SiLU of the input so normalized is convolved; of no channels: the input itself.
        panels: of `Filters`.
        shift: (N, K), is added at each position.
        residual: like ``target``, is added; of no images: nothing is.
        count: how many rows of tiles.
        strips: which.
        space: is overwritten.
        target: (N, H, W, K), is filled where the tiles lie.
    """
    pieces = space.rows.shape[0]
    for piece in numba.prange(pieces):
        for index in range(count * piece // pieces, count * (piece + 1) // pieces):
            _read_strip(images, factor, factors, strips, index, space.rows[piece])
            _transform_strip(strips, index, space.rows[piece], space.windows)
    jobs = panels.shape[0] * panels.shape[1]
    for job in numba.prange(jobs):
        place, panel = job // panels.shape[1], job % panels.shape[1]
        _multiply(place, panel, count * strips.wide, panels, space)
    for index in numba.prange(count):
        _write_strip(space.products, shift, residual, strips, index, target)


def products_of_strips(*arguments: Any) -> int:
    """Count the products that `convolve_strips` takes of such arguments."""
    _, _, _, panels, _, _, count, strips, _, target = arguments
    inputs, outputs = panels.shape[2], target.shape[3]
    return int(PLACES * count * strips.wide * inputs * outputs)


@part
def _read_strip(
    images: Array, factor: int, factors: Factors, strips: Strips, index: int, rows: Array
) -> None:
    """Fill rows with the input of one row of tiles: zeros beyond the image's edges."""
    n, top = (strips.first + index) // strips.high, (strips.first + index) % strips.high
    _, height, width, channels = images.shape
    for i in range(WINDOW):
        y = top * TILE - 1 + i
        row = rows[i]
        if y < 0 or y >= height * factor:
            row[:] = np.float32(0)
            continue
        found = images[n, y // factor]
        row[0] = np.float32(0)
        row[width * factor + 1 :] = np.float32(0)
        inner = row[1 : width * factor + 1]
        if factors.scale.shape[1]:
            scale, offset = factors.scale[n], factors.offset[n]
            for x in range(width * factor):
                for c in range(channels):
                    inner[x, c] = found[x // factor, c] * scale[c] + offset[c]
            silu_of(inner.reshape(-1))
        else:
            for x in range(width * factor):
                for c in range(channels):
                    inner[x, c] = found[x // factor, c]


@part
def _transform_strip(strips: Strips, index: int, rows: Array, windows: Array) -> None:
    _, tiles, channels = windows.shape
    source, target = rows.ctypes.data, windows.ctypes.data
    for x in range(strips.wide):
        transform_window(
            source + BYTES_A_NUMBER * x * TILE * channels,
            rows.shape[1] * channels,
            channels,
            target + BYTES_A_NUMBER * (index * strips.wide + x) * channels,
            tiles * channels,
        )


@part
def _multiply(place: int, panel: int, tiles: int, panels: Array, space: Space) -> None:
    _, most, inputs = space.windows.shape
    width = space.products.shape[2]
    multiply_panel(
        space.windows.ctypes.data + BYTES_A_NUMBER * place * most * inputs,
        inputs,
        tiles,
        panels.ctypes.data + BYTES_A_NUMBER * (place * panels.shape[1] + panel) * inputs * PANEL,
        inputs,
        space.products.ctypes.data + BYTES_A_NUMBER * (place * most * width + panel * PANEL),
        width,
    )


@part
def _write_strip(
    products: Array, shift: Array, residual: Array, strips: Strips, index: int, target: Array
) -> None:
    n, top = (strips.first + index) // strips.high, (strips.first + index) % strips.high
    _, tiles, padded = products.shape
    _, height, width, channels = target.shape
    has_residual = len(residual) > 0
    for x in range(strips.wide):
        at = ((n * height + top * TILE) * width + x * TILE) * channels
        transform_tile(
            products.ctypes.data + BYTES_A_NUMBER * (index * strips.wide + x) * padded,
            tiles * padded,
            channels,
            shift.ctypes.data + BYTES_A_NUMBER * n * channels,
            residual.ctypes.data + BYTES_A_NUMBER * at if has_residual else 0,
            target.ctypes.data + BYTES_A_NUMBER * at,
            width * channels,
            height - top * TILE,
            width - x * TILE,
        )


def _tiles_at_once(filters: Filters, channels: int) -> int:
    """Return how many tiles make as much as filters hold: these are read again for each block."""
    size = max(LEAST_BLOCK_BYTES, filters.panels.nbytes)
    return int(size // (PLACES * (channels + filters.outputs) * BYTES_A_NUMBER))


def _space(threads: int, tiles: int, wide: int, channels: int, filters: Filters) -> Space:
    tiles = max(tiles, ROWS)
    return Space(
        *taken(
            (threads, WINDOW, TILE * wide + WINDOW - TILE, channels),
            (PLACES, tiles, channels),
            (PLACES, tiles, filters.panels.shape[1] * PANEL),
        )
    )


def _channels_last(images: Tensor) -> Array:
    """Return (N, H, W, C) of (N, C, H, W), of the same memory where that lies so."""
    array: Array = images.permute(0, 2, 3, 1).contiguous().numpy()
    return array
