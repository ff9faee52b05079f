"""Linear layers with what stands before and behind them: normalize, multiply, gate, add."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor, nn

from worker.kernels.activation import gelu
from worker.kernels.compiling import as_many_threads_as_torch, kernel, part
from worker.kernels.normalization import NONE, Array, Factors
from worker.kernels.products import PANEL, ROWS, multiply_panel, packed
from worker.kernels.vectors import BYTES_A_NUMBER
from worker.kernels.workspace import taken

MOST_ROWS = 128
"""Of a block: its input stays in a processor's nearer cache while panels pass by."""
BLOCK_BYTES = 2**18


class Layer(NamedTuple):
    """A linear layer, packed."""

    panels: Array
    """(1, panels, C, PANEL), or (2, …): values and their gates."""
    bias: Array
    """(as many, panels * PANEL)."""
    outputs: int
    """K."""


class LayerNorm(NamedTuple):
    """Ba et al. 2016 (arXiv 1607.06450)."""

    weight: Array
    """(C); empty: none."""
    bias: Array
    eps: float


class Space(NamedTuple):
    """What one thread needs."""

    rows: Array
    """(threads, rows of a block, C): normalized."""
    products: Array
    """(threads, 2, rows of a block, PANEL)."""


NO_NORM = LayerNorm(np.empty(0, np.float32), np.empty(0, np.float32), 0.0)


def layer_of(weight: Tensor, bias: Tensor | None, *, gated: bool = False) -> Layer:
    """Pack a weight (K, C), or (2 K, C) of values and gates, and a bias (K) or (2 K)."""
    parts = 2 if gated else 1
    outputs = len(weight) // parts
    panels = packed(weight.reshape(parts, outputs, -1).numpy())
    padded = np.zeros((parts, panels.shape[1] * PANEL), np.float32)
    if bias is not None:
        padded[:, :outputs] = bias.reshape(parts, outputs).numpy()
    return Layer(panels, padded, outputs)


def layer_norm_of(norm: nn.LayerNorm) -> LayerNorm:
    """Read a normalization that has weights."""
    return LayerNorm(norm.weight.numpy(), norm.bias.numpy(), norm.eps)


def project(
    rows: Tensor,
    layer: Layer,
    *,
    norm: LayerNorm = NO_NORM,
    factors: Factors | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """Apply a linear layer.

    Args:
        rows: (M, C), float32, contiguous.
        layer: of C inputs; one with gates gives values times GELU of the gates.
        norm: is applied to each row first.
        factors: where given, rows of as many images, one after the other, are normalized with
            them first.
        residual: (M, K), contiguous, is added.

    Returns:
        (M, K).
    """
    count, inputs = rows.shape
    result = torch.empty(count, layer.outputs)
    added = result[:0] if residual is None else residual
    with as_many_threads_as_torch() as threads:
        at_once = _rows_at_once(count, inputs, threads)
        space = Space(*taken((threads, at_once, inputs), (threads, 2, at_once, PANEL)))
        project_rows(
            rows.numpy(), norm, factors or NONE, layer, added.numpy(), space, result.numpy()
        )
    return result


def _rows_at_once(count: int, inputs: int, threads: int) -> int:
    share = -(-count // threads)
    most = min(share, MOST_ROWS, BLOCK_BYTES // (BYTES_A_NUMBER * inputs))
    return max(ROWS, -(-most // ROWS) * ROWS)


@kernel
def project_rows(  # noqa: PLR0917 - what a layer is of
    rows: Array,
    norm: LayerNorm,
    factors: Factors,
    layer: Layer,
    residual: Array,
    space: Space,
    result: Array,
) -> None:
    """Apply a linear layer.

    Args:
        rows: (M, C).
        norm: is applied to each row first; of no channels: is not.
        factors: normalize rows of as many images; of no channels: do not.
        layer: of C inputs.
        residual: (M, K), is added; of no rows: nothing is.
        space: is overwritten.
        result: (M, K), is filled.
    """
    threads, at_once, _ = space.rows.shape
    blocks = -(-len(rows) // at_once)
    panels = layer.panels.shape[1]
    # Few rows: threads share out the layer's outputs, too.
    shares = max(1, min(panels, threads // blocks))
    jobs = blocks * shares
    for thread in numba.prange(threads):
        for job in range(jobs * thread // threads, jobs * (thread + 1) // threads):
            block, share = job // shares, job % shares
            first = block * at_once
            last = min(first + at_once, len(rows))
            _normalize(rows, first, last, norm, factors, space.rows[thread])
            for panel in range(panels * share // shares, panels * (share + 1) // shares):
                _multiply(panel, last - first, layer, space, thread)
                _finish(panel, first, last, layer, residual, space.products[thread], result)


def products_of_rows(rows: Array, *arguments: Any) -> int:
    """Count the products that `project_rows` takes of such arguments."""
    layer: Layer = arguments[2]
    return int(len(rows) * rows.shape[1] * layer.outputs * len(layer.panels))


@part
def _normalize(
    rows: Array, first: int, last: int, norm: LayerNorm, factors: Factors, normal: Array
) -> None:
    """Fill normal (rows of a block, C)."""
    inputs = rows.shape[1]
    images = factors.scale.shape[0]
    positions = len(rows) // images
    for index in range(last - first):
        row, target = rows[first + index], normal[index]
        if len(norm.weight):
            _normalize_row(row, norm, target)
        elif factors.scale.shape[1]:
            image = (first + index) // positions
            scale, offset = factors.scale[image], factors.offset[image]
            for c in range(inputs):
                target[c] = row[c] * scale[c] + offset[c]
        else:
            for c in range(inputs):
                target[c] = row[c]


@part
def _normalize_row(row: Array, norm: LayerNorm, target: Array) -> None:
    inputs = len(row)
    share = np.float32(1) / np.float32(inputs)
    mean = np.float32(0)
    for c in range(inputs):
        mean += row[c]
    mean *= share
    variance = np.float32(0)
    for c in range(inputs):
        away = row[c] - mean
        variance += away * away
    inverse = np.float32(1) / np.sqrt(variance * share + np.float32(norm.eps))
    for c in range(inputs):
        target[c] = (row[c] - mean) * inverse * norm.weight[c] + norm.bias[c]


@part
def _multiply(panel: int, rows: int, layer: Layer, space: Space, thread: int) -> None:
    _, at_once, inputs = space.rows.shape
    parts, panels = layer.panels.shape[:2]
    source = space.rows.ctypes.data + BYTES_A_NUMBER * thread * at_once * inputs
    for which in range(parts):
        multiply_panel(
            source,
            inputs,
            rows,
            layer.panels.ctypes.data + BYTES_A_NUMBER * (which * panels + panel) * inputs * PANEL,
            inputs,
            space.products.ctypes.data + BYTES_A_NUMBER * (2 * thread + which) * at_once * PANEL,
            PANEL,
        )


@part
def _finish(  # noqa: PLR0917 - what is added
    panel: int,
    first: int,
    last: int,
    layer: Layer,
    residual: Array,
    products: Array,
    result: Array,
) -> None:
    begin = panel * PANEL
    width = min(PANEL, layer.outputs - begin)
    bias = layer.bias[0, begin : begin + width]
    for index in range(last - first):
        values = products[0, index]
        target = result[first + index, begin : begin + width]
        if layer.panels.shape[0] > 1:
            gates, gate_bias = products[1, index], layer.bias[1, begin : begin + width]
            for k in range(width):
                target[k] = (values[k] + bias[k]) * gelu(gates[k] + gate_bias[k])
        elif len(residual):
            kept = residual[first + index, begin : begin + width]
            for k in range(width):
                target[k] = values[k] + bias[k] + kept[k]
        else:
            for k in range(width):
                target[k] = values[k] + bias[k]
