"""A residual block's convolutions on tensors of the processor: normalize, activate, filter, add."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from worker.kernels.activation import silu
from worker.kernels.compiling import as_many_threads_as_torch, kernel, part, sequence
from worker.kernels.normalization import NONE, Array, Factors
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
from worker.kernels.workspace import workspace_of

GRAIN = 16
"""Channels are a multiple of it: of any processor's vectors."""
LEAST_BLOCK_BYTES = 4 * 2**20
"""Of what lies between the transforms: about what stays in a processor's cache."""


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
    """(36, tiles, K)."""


def winograd_filters(weight: Tensor) -> Filters:
    """Transform filters (K, C, 3, 3), multiples of `GRAIN`, for all convolutions with them."""
    outputs, inputs, _, _ = weight.shape
    transformed = np.empty((PLACES, outputs, inputs), np.float32)
    with as_many_threads_as_torch():
        transform_filters(channels_last(weight), transformed)
    return Filters(packed(transformed), outputs)


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
    count, _, height, width = images.shape
    factor = 2 if doubles else 1
    result = torch.empty(
        (count, filters.outputs, factor * height, factor * width),
        memory_format=torch.channels_last,
    )
    source, target = channels_last(images), channels_last(result)
    added = target[:0] if residual is None else channels_last(residual)
    with as_many_threads_as_torch() as threads:
        convolve_into(
            source,
            factor,
            factors or NONE,
            filters.panels,
            shift.numpy(),
            added,
            threads,
            workspace_of(space_of_convolution(filters, target.shape, threads)),
            target,
        )
    return result


def space_of_convolution(filters: Filters, target: tuple[int, ...], threads: int) -> int:
    """Return how many numbers lie between the steps of a convolution to (N, H, W, K).

    As many tiles are taken at once as make what filters hold: these are read again for each.
    """
    count, height, width, _ = target
    inputs = filters.panels.shape[2]
    wide = -(-width // TILE)
    a_tile = PLACES * (inputs + filters.outputs)
    tiles = max(LEAST_BLOCK_BYTES, filters.panels.nbytes) // (BYTES_A_NUMBER * a_tile)
    tiles = min(max(tiles, wide), count * -(-height // TILE) * wide)
    return int(_row_numbers(threads, wide, inputs) + a_tile * max(tiles, ROWS))


@sequence
def convolve_into(  # noqa: PLR0913, PLR0917 - what a convolution is of
    images: Array,
    factor: int,
    factors: Factors,
    panels: Array,
    shift: Array,
    residual: Array,
    threads: int,
    workspace: Array,
    target: Array,
) -> None:
    """Convolve, as many rows of tiles at once as there is space for.

    Args:
        images: this and the next five as in `convolve_strips`.
        factor: see there.
        factors: see there.
        panels: see there.
        shift: see there.
        residual: see there.
        threads: how many there are.
        workspace: of at least `space_of_convolution`, is overwritten.
        target: (N, H, W, K), is filled.
    """
    count, height, width, outputs = target.shape
    high, wide = -(-height // TILE), -(-width // TILE)
    space = _space(threads, count * high, wide, panels.shape[2], outputs, workspace)
    at_once = max(1, min(count * high, space.windows.shape[1] // wide))
    for first in range(0, count * high, at_once):
        some = min(at_once, count * high - first)
        strips = Strips(first, high, wide)
        convolve_strips(
            images, factor, factors, panels, shift, residual, some, strips, space, target
        )


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
            _read_strip(images, factor, factors, strips, index, space.rows, piece)
            _transform_strip(strips, index, space.rows, piece, space.windows)
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


# No views below: each would be counted, by all threads at once.


@part
def _read_strip(  # noqa: PLR0917 - what is read and where to
    images: Array,
    factor: int,
    factors: Factors,
    strips: Strips,
    index: int,
    rows: Array,
    piece: int,
) -> None:
    """Fill a thread's rows with a row of tiles' input: zeros beyond the image's edges."""
    n, top = (strips.first + index) // strips.high, (strips.first + index) % strips.high
    end = images.shape[2] * factor + 1
    for i in range(WINDOW):
        y = top * TILE - 1 + i
        if 0 <= y < images.shape[1] * factor:
            _clear(rows, piece, i, 0, 1)
            _read_row(images, factor, factors, n, y // factor, rows, piece, i)
            _clear(rows, piece, i, end, rows.shape[2])
        else:
            _clear(rows, piece, i, 0, rows.shape[2])


@part
def _clear(rows: Array, piece: int, i: int, begin: int, end: int) -> None:
    for x in range(begin, end):
        for c in range(rows.shape[3]):
            rows[piece, i, x, c] = np.float32(0)


@part
def _read_row(  # noqa: PLR0917 - what is read and where to
    images: Array,
    factor: int,
    factors: Factors,
    n: int,
    y: int,
    rows: Array,
    piece: int,
    i: int,
) -> None:
    _, _, width, channels = images.shape
    for x in range(width * factor):
        if factors.scale.shape[1]:
            for c in range(channels):
                value = images[n, y, x // factor, c] * factors.scale[n, c] + factors.offset[n, c]
                rows[piece, i, x + 1, c] = silu(value)
        else:
            for c in range(channels):
                rows[piece, i, x + 1, c] = images[n, y, x // factor, c]


@part
def _transform_strip(strips: Strips, index: int, rows: Array, piece: int, windows: Array) -> None:
    _, tiles, channels = windows.shape
    a_row = rows.shape[2] * channels
    source, target = rows.ctypes.data + BYTES_A_NUMBER * piece * WINDOW * a_row, windows.ctypes.data
    for x in range(strips.wide):
        transform_window(
            source + BYTES_A_NUMBER * x * TILE * channels,
            a_row,
            channels,
            target + BYTES_A_NUMBER * (index * strips.wide + x) * channels,
            tiles * channels,
        )


@part
def _multiply(place: int, panel: int, tiles: int, panels: Array, space: Space) -> None:
    _, most, inputs = space.windows.shape
    outputs = space.products.shape[2]
    multiply_panel(
        space.windows.ctypes.data + BYTES_A_NUMBER * place * most * inputs,
        inputs,
        tiles,
        panels.ctypes.data + BYTES_A_NUMBER * (place * panels.shape[1] + panel) * inputs * PANEL,
        inputs,
        space.products.ctypes.data + BYTES_A_NUMBER * (place * most * outputs + panel * PANEL),
        outputs,
        outputs - panel * PANEL,
    )


@part
def _write_strip(
    products: Array, shift: Array, residual: Array, strips: Strips, index: int, target: Array
) -> None:
    n, top = (strips.first + index) // strips.high, (strips.first + index) % strips.high
    tiles = products.shape[1]
    _, height, width, channels = target.shape
    has_residual = len(residual) > 0
    for x in range(strips.wide):
        at = ((n * height + top * TILE) * width + x * TILE) * channels
        transform_tile(
            products.ctypes.data + BYTES_A_NUMBER * (index * strips.wide + x) * channels,
            tiles * channels,
            channels,
            shift.ctypes.data + BYTES_A_NUMBER * n * channels,
            residual.ctypes.data + BYTES_A_NUMBER * at if has_residual else 0,
            target.ctypes.data + BYTES_A_NUMBER * at,
            width * channels,
            height - top * TILE,
            width - x * TILE,
        )


@part
def _space(
    threads: int, strips: int, wide: int, inputs: int, outputs: int, workspace: Array
) -> Space:
    """Lay out a workspace for as many tiles as fit, and no more than there are."""
    begin = _row_numbers(threads, wide, inputs)
    tiles = (len(workspace) - begin) // (PLACES * (inputs + outputs))
    tiles = max(ROWS, min(tiles, strips * wide))
    middle = begin + PLACES * tiles * inputs
    end = middle + PLACES * tiles * outputs
    return Space(
        workspace[:begin].reshape((threads, WINDOW, TILE * wide + WINDOW - TILE, inputs)),
        workspace[begin:middle].reshape((PLACES, tiles, inputs)),
        workspace[middle:end].reshape((PLACES, tiles, outputs)),
    )


@part
def _row_numbers(threads: int, wide: int, inputs: int) -> int:
    return threads * WINDOW * (TILE * wide + WINDOW - TILE) * inputs


def channels_last(images: Tensor) -> Array:
    """Return (N, H, W, C) of (N, C, H, W), of the same memory where that lies so."""
    array: Array = images.permute(0, 2, 3, 1).contiguous().numpy()
    return array
