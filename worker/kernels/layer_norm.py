"""Rows of tokens as a linear layer reads them: normalized by themselves, by their image, or not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import nn

from worker.kernels.compiling import part
from worker.kernels.normalization import Array, Factors


class LayerNorm(NamedTuple):
    """Ba et al. 2016 (arXiv 1607.06450)."""

    weight: Array
    """(C); empty: none."""
    bias: Array
    eps: float


NO_NORM = LayerNorm(np.empty(0, np.float32), np.empty(0, np.float32), 0.0)


def layer_norm_of(norm: nn.LayerNorm) -> LayerNorm:
    """Read a normalization that has weights."""
    return LayerNorm(norm.weight.numpy(), norm.bias.numpy(), norm.eps)


# No views of rows below: each would be counted, by all threads at once.


@part
def normalize(  # noqa: PLR0917 - what is read and where to
    rows: Array,
    first: int,
    last: int,
    norm: LayerNorm,
    factors: Factors,
    normal: Array,
    thread: int,
) -> None:
    """Fill a thread's part of normal (threads, rows of a block, C).

    Args:
        rows: (M, C).
        first: of the rows that are read.
        last: behind them.
        norm: is applied to each row; of no channels: is not.
        factors: normalize rows of as many images; of no channels: do not.
        normal: its first rows are filled.
        thread: which part.
    """
    inputs = rows.shape[1]
    positions = len(rows) // len(factors.scale)
    for index in range(last - first):
        row = first + index
        if len(norm.weight):
            _normalize_row(rows, row, norm, normal, thread, index)
        elif factors.scale.shape[1]:
            image = row // positions
            for c in range(inputs):
                normal[thread, index, c] = (
                    rows[row, c] * factors.scale[image, c] + factors.offset[image, c]
                )
        else:
            for c in range(inputs):
                normal[thread, index, c] = rows[row, c]


@part
def _normalize_row(
    rows: Array, row: int, norm: LayerNorm, normal: Array, thread: int, index: int
) -> None:
    inputs = rows.shape[1]
    share = np.float32(1) / np.float32(inputs)
    mean = np.float32(0)
    for c in range(inputs):
        mean += rows[row, c]
    mean *= share
    variance = np.float32(0)
    for c in range(inputs):
        away = rows[row, c] - mean
        variance += away * away
    inverse = np.float32(1) / np.sqrt(variance * share + np.float32(norm.eps))
    for c in range(inputs):
        scaled = (rows[row, c] - mean) * inverse
        normal[thread, index, c] = scaled * norm.weight[c] + norm.bias[c]
