"""Convolution with 3 x 3 filters by Winograd's minimal filtering, F(4x4, 3x3).

Lavin and Gray 2015 (arXiv 1509.09308): of 4 x 4 outputs at once, 36 products a pair of channels
are taken in place of 144. What is done in this file are the transforms before and after; the
products are 36 matrix multiplications, one for each place of a 6 x 6 tile.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from worker.kernels.activation import silu_of
from worker.kernels.compiling import kernel, part
from worker.kernels.normalization import Array, Factors

TILE = 4
"""Outputs a side."""
WINDOW = 6
"""Inputs a side."""
PLACES = WINDOW * WINDOW


class Tiles(NamedTuple):
    """Which tiles, counted by image, then by row, then by column."""

    first: int
    """There are as many as the array beside it has."""
    high: int
    """Tiles of an image, one below the other."""
    wide: int
    """Tiles of an image, side by side."""


_PIECES = 8
"""Of the tiles; each is some thread's."""
_TWO = np.float32(2)
_FOUR = np.float32(4)
_FIVE = np.float32(5)
_EIGHT = np.float32(8)


@part
def _shift_filter_line(g0: float, g1: float, g2: float, k: int, outputs: Array) -> None:
    """Apply G to three numbers: to (6, ·) at k."""
    outer, inner = (g0 + g2) / 6, g1 / 6
    far, near = (g0 + 4 * g2) / 24, g1 / 12
    outputs[0, k] = g0 / 4
    outputs[1, k] = -outer - inner
    outputs[2, k] = inner - outer
    outputs[3, k] = far + near
    outputs[4, k] = far - near
    outputs[5, k] = g2


@part
def _transform_filters_of(filters: Array, rows: Array, transformed: Array) -> None:
    for j in range(3):
        for c in range(filters.shape[2]):
            _shift_filter_line(filters[0, j, c], filters[1, j, c], filters[2, j, c], c, rows[j])
    for i in range(WINDOW):
        places = transformed[i * WINDOW : (i + 1) * WINDOW]
        for c in range(filters.shape[2]):
            _shift_filter_line(rows[0, i, c], rows[1, i, c], rows[2, i, c], c, places)


@kernel
def transform_filters(filters: Array, transformed: Array) -> None:
    """Compute G g G^T of each filter.

    Args:
        filters: (K, 3, 3, C).
        transformed: (36, K, C), is filled.
    """
    for k in numba.prange(filters.shape[0]):
        rows = np.empty((3, WINDOW, filters.shape[3]), np.float32)
        _transform_filters_of(filters[k], rows, transformed[:, k])


@part
def _read(
    images: Array, at: tuple[int, int, int], factor: int, factors: Factors, values: Array
) -> None:
    """Fill values (C) with what is at an image, row and column: zeros beyond its edges."""
    n, y, x = at
    _, height, width, channels = images.shape
    if y < 0 or x < 0 or y >= height * factor or x >= width * factor:
        for c in range(channels):
            values[c] = np.float32(0)
        return
    found = images[n, y // factor, x // factor]
    if factors.scale.shape[1]:
        scale, offset = factors.scale[n], factors.offset[n]
        for c in range(channels):
            values[c] = found[c] * scale[c] + offset[c]
        silu_of(values)
    else:
        for c in range(channels):
            values[c] = found[c]


@part
def _transform_line(inputs: Array, outputs: Array) -> None:
    """Apply B^T to six vectors: (6, C) to (6, C)."""
    for c in range(inputs.shape[1]):
        d1 = inputs[1, c]
        d2 = inputs[2, c]
        d3 = inputs[3, c]
        d4 = inputs[4, c]
        even = d4 - _FOUR * d2
        odd = d3 - _FOUR * d1
        outer = d4 - d2
        inner = _TWO * (d3 - d1)
        outputs[0, c] = _FOUR * inputs[0, c] - _FIVE * d2 + d4
        outputs[1, c] = even + odd
        outputs[2, c] = even - odd
        outputs[3, c] = outer + inner
        outputs[4, c] = outer - inner
        outputs[5, c] = _FOUR * d1 - _FIVE * d3 + inputs[5, c]


@part
def _transform_input_piece(
    piece: int, images: Array, factor: int, factors: Factors, tiles: Tiles, transformed: Array
) -> None:
    count, channels = transformed.shape[1:]
    columns = np.empty((WINDOW, WINDOW, channels), np.float32)
    line = np.empty((WINDOW, channels), np.float32)
    begin, end = count * piece // _PIECES, count * (piece + 1) // _PIECES
    for place in range(begin, end):
        tile = tiles.first + place
        n = tile // (tiles.high * tiles.wide)
        top = tile // tiles.wide % tiles.high * TILE - 1
        left = tile % tiles.wide * TILE - 1
        known = 0
        if place > begin and left > 0:
            # Windows overlap by two: the last one's last columns are this one's first.
            for i in range(WINDOW):
                for c in range(channels):
                    columns[0, i, c] = columns[TILE, i, c]
                    columns[1, i, c] = columns[TILE + 1, i, c]
            known = WINDOW - TILE
        for j in range(known, WINDOW):
            for i in range(WINDOW):
                _read(images, (n, top + i, left + j), factor, factors, line[i])
            _transform_line(line, columns[j])
        for i in range(WINDOW):
            _transform_line(columns[:, i], transformed[i * WINDOW : (i + 1) * WINDOW, place])


@kernel
def transform_input(
    images: Array, factor: int, factors: Factors, tiles: Tiles, transformed: Array
) -> None:
    """Compute B^T d B of each tile's window.

    Args:
        images: (N, H, W, C).
        factor: how often each position counts in height and in width (nearest upsampling).
        factors: SiLU of the input so normalized is read; of no channels: the input itself.
        tiles: which.
        transformed: (36, tiles, C), is filled.
    """
    for piece in numba.prange(_PIECES):
        _transform_input_piece(piece, images, factor, factors, tiles, transformed)


@part
def _shorten_line(inputs: Array, outputs: Array) -> None:
    """Apply A^T to six vectors: (6, K) to (4, K)."""
    for k in range(inputs.shape[1]):
        m1 = inputs[1, k]
        m2 = inputs[2, k]
        m3 = inputs[3, k]
        m4 = inputs[4, k]
        near_sum, near_difference = m1 + m2, m1 - m2
        far_sum, far_difference = m3 + m4, m3 - m4
        outputs[0, k] = inputs[0, k] + near_sum + far_sum
        outputs[1, k] = near_difference + _TWO * far_difference
        outputs[2, k] = near_sum + _FOUR * far_sum
        outputs[3, k] = near_difference + _EIGHT * far_difference + inputs[5, k]


@part
def _transform_output_piece(
    piece: int, products: Array, shift: Array, residual: Array, tiles: Tiles, images: Array
) -> None:
    count = products.shape[1]
    height, width, channels = images.shape[1:]
    columns = np.empty((TILE, WINDOW, channels), np.float32)
    line = np.empty((TILE, channels), np.float32)
    for place in range(count * piece // _PIECES, count * (piece + 1) // _PIECES):
        tile = tiles.first + place
        n = tile // (tiles.high * tiles.wide)
        top = tile // tiles.wide % tiles.high * TILE
        left = tile % tiles.wide * TILE
        for j in range(WINDOW):
            _shorten_line(products[j::WINDOW, place], columns[:, j])
        for i in range(min(TILE, height - top)):
            _shorten_line(columns[i], line)
            for j in range(min(TILE, width - left)):
                target, value, summand = images[n, top + i, left + j], line[j], shift[n]
                if len(residual):
                    kept = residual[n, top + i, left + j]
                    for k in range(channels):
                        target[k] = value[k] + summand[k] + kept[k]
                else:
                    for k in range(channels):
                        target[k] = value[k] + summand[k]


@kernel
def transform_output(
    products: Array, shift: Array, residual: Array, tiles: Tiles, images: Array
) -> None:
    """Compute A^T m A of each tile, and add what is to be added.

    Args:
        products: (36, tiles, K).
        shift: (N, K), is added at each position.
        residual: like ``images``, is added; of no images: nothing is.
        tiles: which.
        images: (N, H, W, K), is filled where the tiles lie.
    """
    for piece in numba.prange(_PIECES):
        _transform_output_piece(piece, products, shift, residual, tiles, images)
