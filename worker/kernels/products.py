"""Matrix products with weights that were packed once, as panels that a processor reads in order.

Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication": a block of the
product stays in registers while its row and its column are read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from worker.kernels.compiling import part
from worker.kernels.normalization import Array
from worker.kernels.vectors import BYTES_A_NUMBER, LANES, Emitter, emitted

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
    return np.ascontiguousarray(whole.reshape(*many, panels, PANEL, inputs).swapaxes(-1, -2))


def _write_block(  # noqa: PLR0917 - addresses and strides of three matrices
    emitter: Emitter, a: Any, a_row: Any, b: Any, inputs: Any, c: Any, c_row: Any
) -> None:
    """Compute C = A B: A (ROWS, inputs), B (inputs, PANEL), C (ROWS, PANEL)."""
    builder = emitter.builder
    a, b, c = emitter.pointer(a), emitter.pointer(b), emitter.pointer(c)
    rows = [builder.gep(a, [builder.mul(emitter.index(row), a_row)]) for row in range(ROWS)]
    with emitter.counting(inputs, 1, [emitter.constant(0)] * (ROWS * VECTORS)) as loop:
        line = builder.mul(loop.at, emitter.index(PANEL))
        columns = [
            emitter.load(b, builder.add(line, emitter.index(vector * LANES)))
            for vector in range(VECTORS)
        ]
        for row, start in enumerate(rows):
            number = emitter.load_everywhere(start, loop.at)
            for vector, column in enumerate(columns):
                index = row * VECTORS + vector
                loop.handed[index] = emitter.multiply_add(number, column, loop.carried[index])
    for index, total in enumerate(loop.handed):
        row, vector = divmod(index, VECTORS)
        line = builder.mul(emitter.index(row), c_row)
        emitter.store(total, c, builder.add(line, emitter.index(vector * LANES)))


_multiply_block = emitted(_write_block)


@part
def multiply_panel(  # noqa: PLR0917 - addresses and strides of three matrices
    a: int, a_row: int, rows: int, b: int, inputs: int, c: int, c_row: int
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
    """
    for row in range(0, rows, ROWS):
        # The last block overlaps the one before: it makes the same numbers again.
        at = max(0, min(row, rows - ROWS))
        _multiply_block(
            a + BYTES_A_NUMBER * at * a_row,
            a_row,
            b,
            inputs,
            c + BYTES_A_NUMBER * at * c_row,
            c_row,
        )
