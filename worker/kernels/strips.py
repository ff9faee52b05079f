"""Convolution by Winograd's minimal filtering, strip by strip: as many at once as a cache holds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from torch import Tensor

from worker.kernels.compiling import (
    as_many_threads_as_torch,
    kernel,
    part,
    part_for_both,
    sequence,
    signed,
)
from worker.kernels.normalization import Array, Factors
from worker.kernels.products import PANEL, ROWS, multiply_panel, packed
from worker.kernels.reading import read_row
from worker.kernels.vectors import BYTES_A_NUMBER
from worker.kernels.winograd import (
    PLACES,
    TILE,
    WINDOW,
    transform_filters,
    transform_tile,
    transform_window,
)

LEAST_BLOCK_BYTES = 4 * 2**20
"""Of what lies between the transforms: about what stays in a processor's cache."""


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


def winograd_filters(weight: Tensor) -> Array:
    """Transform filters (K, C, 3, 3), and pack them: (36, panels, C, PANEL)."""
    outputs, inputs, _, _ = weight.shape
    transformed = np.empty((PLACES, outputs, inputs), np.float32)
    with as_many_threads_as_torch():
        transform_filters(weight.permute(0, 2, 3, 1).contiguous().numpy(), transformed)
    return packed(transformed)


def space_of_strips(panels: Array, target: tuple[int, ...], threads: int) -> int:
    """Return how many numbers lie between the steps of a convolution to (N, H, W, K).

    As many tiles are taken at once as make what filters hold: these are read again for each.
    """
    count, height, width, outputs = target
    inputs = panels.shape[2]
    wide = -(-width // TILE)
    a_tile = PLACES * (inputs + outputs)
    tiles = max(LEAST_BLOCK_BYTES, panels.nbytes) // (BYTES_A_NUMBER * a_tile)
    tiles = min(max(tiles, wide), count * -(-height // TILE) * wide)
    return int(_row_numbers(threads, wide, inputs) + a_tile * max(tiles, ROWS))


@sequence
def convolve_by_tiles(  # noqa: PLR0913, PLR0917 - what a convolution is of
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
        workspace: of at least `space_of_strips`, is overwritten.
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
    for each in numba.prange(pieces):
        piece = signed(each)
        for index in range(count * piece // pieces, count * (piece + 1) // pieces):
            n, top = _place(strips, index)
            for i in range(WINDOW):
                y = top * TILE - 1 + i
                read_row(images, factor, factors, n, y, space.rows, piece, i)
            _transform_strip(strips, index, space.rows, piece, space.windows)
    jobs = panels.shape[0] * panels.shape[1]
    for each in numba.prange(jobs):
        job = signed(each)
        place, panel = job // panels.shape[1], job % panels.shape[1]
        _multiply(place, panel, count * strips.wide, panels, space)
    for each in numba.prange(count):
        index = signed(each)
        _write_strip(space.products, shift, residual, strips, index, target)


def products_of_strips(*arguments: Any) -> int:
    """Count the products that `convolve_strips` takes of such arguments."""
    _, _, _, panels, _, _, count, strips, _, target = arguments
    inputs, outputs = panels.shape[2], target.shape[3]
    return int(PLACES * count * strips.wide * inputs * outputs)


# No views below: each would be counted, by all threads at once.


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
    n, top = _place(strips, index)
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
def _place(strips: Strips, index: int) -> tuple[int, int]:
    """Return image and row of tiles."""
    strip = strips.first + index
    return strip // strips.high, strip % strips.high


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


@part_for_both
def _row_numbers(threads: int, wide: int, inputs: int) -> int:
    return threads * WINDOW * (TILE * wide + WINDOW - TILE) * inputs
