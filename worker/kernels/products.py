"""Matrix products with weights that were packed once, as panels that a processor reads in order.

Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication": a block of the
product stays in registers while its row and its column are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from worker.kernels.compiling import part
from worker.kernels.normalization import Array
from worker.kernels.vectors import BYTES_A_NUMBER, LANES, Emitter, emitted
from worker.kernels.workspace import aligned

FEW_REGISTERS = 8
ROWS, VECTORS = (6, 2) if LANES == FEW_REGISTERS else (8, 2) if LANES > FEW_REGISTERS else (4, 2)
"""Of a block: as many as there are registers for."""
PANEL = LANES * VECTORS
"""Columns of the product in a block."""


def packed(weight: Array) -> Array:
    """Pack matrices (…, K, C), which rows (T, C) are multiplied with, to (…, panels, C, PANEL).

    Columns behind the last of K are zeros.
    """
    *many, outputs, inputs = weight.shape
    panels = -(-outputs // PANEL)
    whole = np.zeros((*many, panels * PANEL, inputs), np.float32)
    whole[..., :outputs, :] = weight
    made = aligned(*many, panels, inputs, PANEL)
    made[...] = whole.reshape(*many, panels, PANEL, inputs).swapaxes(-1, -2)
    return made


def _multiplied(
    emitter: Emitter, a: Any, a_row: Any, b: Any, inputs: Any, starts: Sequence[Any]
) -> list[Any]:
    """Add A B to vectors, a row after the other: A (ROWS, inputs), B (inputs, of PANEL)."""
    builder = emitter.builder
    a, b = emitter.pointer(a), emitter.pointer(b)
    rows = [builder.gep(a, [builder.mul(emitter.index(row), a_row)]) for row in range(ROWS)]
    with emitter.counting(inputs, 1, starts) as loop:
        loop.handed = add_products(emitter, rows, b, loop.at, loop.carried)
    return loop.handed


def add_products(
    emitter: Emitter, rows: Sequence[Any], panel: Any, at: Any, sums: Sequence[Any]
) -> list[Any]:
    """Write the inner loop's body: to each row's sums, its number times a line of the panel.

    Args:
        emitter: writes it.
        rows: where each of ROWS begins.
        panel: pointer to (inputs, PANEL).
        at: which number, and which line.
        sums: vectors, as many a row as are taken of a line, a row after the other.
    """
    builder, vectors = emitter.builder, len(sums) // ROWS
    line = builder.mul(at, emitter.index(PANEL))
    columns = [
        emitter.load(panel, builder.add(line, emitter.index(k * LANES))) for k in range(vectors)
    ]
    made = []
    for index, row in enumerate(rows):
        number = emitter.load_everywhere(row, at)
        for k, column in enumerate(columns):
            made.append(emitter.multiply_add(number, column, sums[index * vectors + k]))
    return made


def store_with_residual(
    emitter: Emitter, sums: Sequence[Any], places: Sequence[Any], residual: Any, target: Any
) -> None:
    """Write each row's sums to its place, with the residual where there is one.

    Args:
        emitter: writes it.
        sums: as of `add_products`.
        places: how many numbers behind the target's first each row begins.
        residual: address of what is laid out as the target; 0: there is none.
        target: address.
    """
    builder, vectors = emitter.builder, len(sums) // ROWS
    written, kept = emitter.pointer(target), emitter.pointer(residual)
    has_residual = builder.icmp_signed("!=", residual, emitter.index(0))
    with builder.if_else(has_residual) as (more, none):
        for branch, adds in ((more, True), (none, False)):
            with branch:
                for index, total in enumerate(sums):
                    vector = emitter.index(index % vectors * LANES)
                    place = builder.add(places[index // vectors], vector)
                    whole = total
                    if adds:
                        whole = emitter.sum_of([(1, total), (1, emitter.load(kept, place))])
                    emitter.store(whole, written, place)


def _place(emitter: Emitter, index: int, vectors: int, c_row: Any) -> Any:
    """Return how far in a matrix one of a block's vectors begins, of so many a row."""
    row, vector = divmod(index, vectors)
    line = emitter.builder.mul(emitter.index(row), c_row)
    return emitter.builder.add(line, emitter.index(vector * LANES))


def _block_of(vectors: int) -> Any:
    """Make a function that computes C = A B: A (ROWS, inputs), B (inputs, of PANEL), C (ROWS, ·).

    Args:
        vectors: of each row of C.
    """

    def write(  # noqa: PLR0917 - addresses and strides of three matrices
        emitter: Emitter, a: Any, a_row: Any, b: Any, inputs: Any, c: Any, c_row: Any
    ) -> None:
        starts = [emitter.constant(0)] * (ROWS * vectors)
        target = emitter.pointer(c)
        for index, total in enumerate(_multiplied(emitter, a, a_row, b, inputs, starts)):
            emitter.store(total, target, _place(emitter, index, vectors, c_row))

    return emitted(write)


def _write_layer_block(  # noqa: PLR0913, PLR0917 - addresses and strides of five matrices
    emitter: Emitter,
    a: Any,
    a_row: Any,
    b: Any,
    inputs: Any,
    bias: Any,
    residual: Any,
    c: Any,
    c_row: Any,
) -> None:
    """Compute C = A B + bias + residual: bias (PANEL), residual like C; 0 adds none."""
    added = emitter.pointer(bias)
    starts = [
        emitter.load(added, emitter.index(vector * LANES))
        for _ in range(ROWS)
        for vector in range(VECTORS)
    ]
    totals = _multiplied(emitter, a, a_row, b, inputs, starts)
    places = [emitter.builder.mul(emitter.index(row), c_row) for row in range(ROWS)]
    store_with_residual(emitter, totals, places, residual, c)


_multiply_block, _multiply_narrow_block = _block_of(VECTORS), _block_of(1)
_apply_block = emitted(_write_layer_block)


@part
def multiply_panel(  # noqa: PLR0917 - addresses and strides of three matrices
    a: int, a_row: int, rows: int, b: int, inputs: int, c: int, c_row: int, width: int
) -> None:
    """Multiply rows with one panel.

    Args:
        a: address of (rows, inputs).
        a_row: numbers from a row to the next.
        rows: fewer than ROWS are read and written as if there were so many.
        b: address of a panel, (inputs, PANEL).
        inputs: of a row.
        c: address of (rows, PANEL), is filled.
        c_row: numbers from a row to the next.
        width: where it is no more than one vector's, no more of each row is filled.
    """
    for row in range(0, rows, ROWS):
        # The last block overlaps the one before: it makes the same numbers again.
        at = max(0, min(row, rows - ROWS))
        from_row, to_row = a + BYTES_A_NUMBER * at * a_row, c + BYTES_A_NUMBER * at * c_row
        if width > LANES:
            _multiply_block(from_row, a_row, b, inputs, to_row, c_row)
        else:
            _multiply_narrow_block(from_row, a_row, b, inputs, to_row, c_row)


@part
def apply_panel(  # noqa: PLR0913, PLR0917 - addresses and strides of five matrices
    a: int,
    a_row: int,
    rows: int,
    b: int,
    inputs: int,
    bias: int,
    residual: int,
    c: int,
    c_row: int,
) -> None:
    """Multiply rows with one panel of a linear layer.

    Args:
        a: this and the next four as in `multiply_panel`; there are at least ROWS rows.
        a_row: see there.
        rows: see there.
        b: see there.
        inputs: see there.
        bias: address of (PANEL), is added to each row.
        residual: address of (rows, PANEL), laid out as c, is added; 0: nothing is.
        c: address of (rows, PANEL), is filled; not the residual's.
        c_row: numbers from a row to the next.
    """
    for row in range(0, rows, ROWS):
        at = max(0, min(row, rows - ROWS))
        further = BYTES_A_NUMBER * at * c_row
        _apply_block(
            a + BYTES_A_NUMBER * at * a_row,
            a_row,
            b,
            inputs,
            bias,
            residual + further if residual else 0,
            c + further,
            c_row,
        )
