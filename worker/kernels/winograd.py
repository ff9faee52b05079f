"""Convolution with 3 x 3 filters by Winograd's minimal filtering, F(4x4, 3x3).

Lavin and Gray 2015 (arXiv 1509.09308): of 4 x 4 outputs at once, 36 products a pair of channels
are taken in place of 144. What is done in this file are the transforms before and after; the
products are 36 matrix multiplications, one for each place of a 6 x 6 window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np

from worker.kernels.compiling import kernel, part
from worker.kernels.normalization import Array
from worker.kernels.vectors import LANES, Emitter, emitted

TILE = 4
"""Outputs a side."""
WINDOW = 6
"""Inputs a side."""
PLACES = WINDOW * WINDOW


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


def _transform_line(emitter: Emitter, d: Sequence[Any]) -> list[Any]:
    """Apply B^T to six vectors: to six."""
    total = emitter.sum_of
    even, odd = total([(1, d[4]), (-4, d[2])]), total([(1, d[3]), (-4, d[1])])
    outer, inner = total([(1, d[4]), (-1, d[2])]), total([(1, d[3]), (-1, d[1])])
    return [
        total([(4, d[0]), (-5, d[2]), (1, d[4])]),
        total([(1, even), (1, odd)]),
        total([(1, even), (-1, odd)]),
        total([(1, outer), (2, inner)]),
        total([(1, outer), (-2, inner)]),
        total([(4, d[1]), (-5, d[3]), (1, d[5])]),
    ]


def _shorten_line(emitter: Emitter, m: Sequence[Any]) -> list[Any]:
    """Apply A^T to six vectors: to four."""
    total = emitter.sum_of
    near, near_difference = total([(1, m[1]), (1, m[2])]), total([(1, m[1]), (-1, m[2])])
    far, far_difference = total([(1, m[3]), (1, m[4])]), total([(1, m[3]), (-1, m[4])])
    return [
        total([(1, m[0]), (1, near), (1, far)]),
        total([(1, near_difference), (2, far_difference)]),
        total([(1, near), (4, far)]),
        total([(1, near_difference), (8, far_difference), (1, m[5])]),
    ]


def _transposed(lines: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    return list(zip(*lines, strict=True))


def _write_window(
    emitter: Emitter, window: Any, row: Any, channels: Any, transformed: Any, place: Any
) -> None:
    """Compute B^T d B of one window.

    Args:
        emitter: writes it.
        window: address of its first position's channels; columns lie side by side.
        row: numbers from one row of positions to the next.
        channels: of a position, a multiple of `LANES`.
        transformed: address of the first place's channels, which are filled.
        place: numbers from one of 36 places to the next.
    """
    builder = emitter.builder
    source, target = emitter.pointer(window), emitter.pointer(transformed)
    with emitter.counting(channels, LANES) as loop:

        def read(i: int, j: int) -> Any:
            offset = builder.add(builder.mul(row, emitter.index(i)), loop.at)
            return emitter.load(
                source, builder.add(offset, builder.mul(channels, emitter.index(j)))
            )

        columns = [
            _transform_line(emitter, [read(i, j) for i in range(WINDOW)]) for j in range(WINDOW)
        ]
        for i, line in enumerate(_transposed(columns)):
            for j, value in enumerate(_transform_line(emitter, line)):
                offset = builder.mul(place, emitter.index(i * WINDOW + j))
                emitter.store(value, target, builder.add(offset, loop.at))


transform_window = emitted(_write_window)
"""Compute B^T d B of one window."""


def _write_tile(  # noqa: PLR0913, PLR0917 - addresses and strides
    emitter: Emitter,
    products: Any,
    place: Any,
    channels: Any,
    shift: Any,
    residual: Any,
    image: Any,
    row: Any,
    high: Any,
    wide: Any,
) -> None:
    """Compute A^T m A of one tile, and add what is to be added.

    Args:
        emitter: writes it.
        products: address of the first place's channels.
        place: numbers from one of 36 places to the next.
        channels: of a position, a multiple of `LANES`.
        shift: address of what is added at each position, (channels).
        residual: address of what is added at the tile's first position, laid out as the image;
            0 adds nothing.
        image: address of the tile's first position's channels; columns lie side by side.
        row: numbers from one row of positions to the next.
        high: rows of the tile that are in the image.
        wide: columns of it that are.
    """
    builder = emitter.builder
    source, added, target = (emitter.pointer(one) for one in (products, shift, image))
    has_residual = builder.icmp_signed("!=", residual, emitter.index(0))
    # Without one, what is there already is read, and left out.
    kept = emitter.pointer(builder.select(has_residual, residual, image))
    with emitter.counting(channels, LANES) as loop:

        def read(i: int, j: int) -> Any:
            offset = builder.mul(place, emitter.index(i * WINDOW + j))
            return emitter.load(source, builder.add(offset, loop.at))

        def finish(value: Any, i: int, j: int) -> None:
            column = builder.add(builder.mul(channels, emitter.index(j)), loop.at)
            offset = builder.add(builder.mul(row, emitter.index(i)), column)
            more = builder.select(has_residual, emitter.load(kept, offset), emitter.constant(0))
            emitter.store(emitter.sum_of([(1, value), (1, more)]), target, offset)

        columns = [
            _shorten_line(emitter, [read(i, j) for i in range(WINDOW)]) for j in range(WINDOW)
        ]
        summand = emitter.load(added, loop.at)
        for i, line in enumerate(_transposed(columns)):
            values = _shorten_line(emitter, line)
            with builder.if_then(builder.icmp_signed("<", emitter.index(i), high)):
                for j, value in enumerate(values):
                    with builder.if_then(builder.icmp_signed("<", emitter.index(j), wide)):
                        finish(emitter.sum_of([(1, value), (1, summand)]), i, j)


transform_tile = emitted(_write_tile)
"""Compute A^T m A of one tile, and add what is to be added."""
