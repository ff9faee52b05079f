"""Linear layers with what stands before and behind them: normalize, multiply, gate, add."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from worker.kernels.activation import gelu, quick_gelu
from worker.kernels.compiling import as_many_threads_as_torch, kernel, part, sequence, signed
from worker.kernels.layer_norm import NO_NORM, LayerNorm, normalize
from worker.kernels.normalization import NONE, Array, Factors
from worker.kernels.products import PANEL, ROWS, apply_panel, multiply_panel, packed
from worker.kernels.vectors import BYTES_A_NUMBER
from worker.kernels.workspace import workspace_of

MOST_ROWS = 128
"""Of a block: its input stays in a processor's nearer cache while panels pass by."""
BLOCK_BYTES = 2**18
PLAIN, GATED, GELU, QUICK_GELU = range(4)
"""What is made of a layer's outputs: nothing, values times GELU of their gates, or that."""


class Layer(NamedTuple):
    """A linear layer, packed."""

    panels: Array
    """(1, panels, C, PANEL), or (2, …): values and their gates."""
    bias: Array
    """(as many, panels * PANEL)."""
    outputs: int
    """K."""
    activation: int
    """One of `PLAIN`, `GATED`, `GELU`, `QUICK_GELU`."""


class Space(NamedTuple):
    """What one thread needs."""

    rows: Array
    """(threads, rows of a block, C): normalized."""
    products: Array
    """(threads, 2, rows of a block, PANEL)."""


NO_LAYER = Layer(np.empty((1, 0, 0, PANEL), np.float32), np.empty((1, 0), np.float32), 0, PLAIN)


def layer_of(weight: Tensor, bias: Tensor | None, activation: int = PLAIN) -> Layer:
    """Pack a weight (K, C), or (2 K, C) of values and gates, and a bias (K) or (2 K)."""
    parts = 2 if activation == GATED else 1
    outputs = len(weight) // parts
    panels = packed(weight.reshape(parts, outputs, -1).numpy())
    padded = np.zeros((parts, panels.shape[1] * PANEL), np.float32)
    if bias is not None:
        padded[:, :outputs] = bias.reshape(parts, outputs).numpy()
    return Layer(panels, padded, outputs, activation)


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
        residual: (M, K), contiguous, is added; only to a plain layer's outputs.

    Returns:
        (M, K).
    """
    count, inputs = rows.shape
    result = torch.empty(count, layer.outputs)
    added = result[:0] if residual is None else residual
    with as_many_threads_as_torch() as threads:
        project_into(
            rows.numpy(),
            norm,
            factors or NONE,
            layer,
            added.numpy(),
            threads,
            workspace_of(space_of_projection(inputs, threads)),
            result.numpy(),
        )
    return result


def space_of_projection(inputs: int, threads: int) -> int:
    """Return how many numbers a layer of so many inputs needs between its steps, at most."""
    rows = max(ROWS, min(MOST_ROWS, BLOCK_BYTES // (BYTES_A_NUMBER * inputs)))
    return threads * (rows + ROWS) * (inputs + 2 * PANEL)


@sequence
def project_into(  # noqa: PLR0917 - what a layer is of
    rows: Array,
    norm: LayerNorm,
    factors: Factors,
    layer: Layer,
    residual: Array,
    threads: int,
    workspace: Array,
    result: Array,
) -> None:
    """Apply a linear layer.

    Args:
        rows: this and the next four as in `project_rows`.
        norm: see there.
        factors: see there.
        layer: see there.
        residual: see there.
        threads: how many there are.
        workspace: of at least `space_of_projection`, is overwritten.
        result: (M, K), is filled.
    """
    count, inputs = rows.shape
    at_once = _rows_at_once(count, inputs, threads)
    middle = threads * at_once * inputs
    end = middle + threads * 2 * at_once * PANEL
    space = Space(
        workspace[:middle].reshape((threads, at_once, inputs)),
        workspace[middle:end].reshape((threads, 2, at_once, PANEL)),
    )
    project_rows(rows, norm, factors, layer, residual, space, result)


@part
def _rows_at_once(count: int, inputs: int, threads: int) -> int:
    """Return a share of the rows, as large as stays in a nearer cache, in whole blocks."""
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
    for each in numba.prange(threads):
        thread = signed(each)
        for job in range(jobs * thread // threads, jobs * (thread + 1) // threads):
            block, share = job // shares, job % shares
            first = block * at_once
            last = min(first + at_once, len(rows))
            normalize(rows, first, last, norm, factors, space.rows, thread)
            for panel in range(panels * share // shares, panels * (share + 1) // shares):
                if _is_whole(panel, last - first, layer):
                    _apply(panel, first, last, layer, residual, space, thread, result)
                else:
                    _multiply(panel, last - first, layer, space, thread)
                    _finish(panel, first, last, layer, residual, space.products, thread, result)


def products_of_rows(rows: Array, *arguments: Any) -> int:
    """Count the products that `project_rows` takes of such arguments."""
    layer: Layer = arguments[2]
    return int(len(rows) * rows.shape[1] * layer.outputs * len(layer.panels))


@part
def _is_whole(panel: int, rows: int, layer: Layer) -> bool:
    """Tell whether a panel's outputs can be written where they belong as they are computed."""
    fits = rows >= ROWS and (panel + 1) * PANEL <= layer.outputs
    return fits and layer.activation == PLAIN


@part
def _apply(  # noqa: PLR0917 - what is read and where to
    panel: int,
    first: int,
    last: int,
    layer: Layer,
    residual: Array,
    space: Space,
    thread: int,
    result: Array,
) -> None:
    _, at_once, inputs = space.rows.shape
    begin = BYTES_A_NUMBER * (first * layer.outputs + panel * PANEL)
    apply_panel(
        space.rows.ctypes.data + BYTES_A_NUMBER * thread * at_once * inputs,
        inputs,
        last - first,
        layer.panels.ctypes.data + BYTES_A_NUMBER * panel * inputs * PANEL,
        inputs,
        layer.bias.ctypes.data + BYTES_A_NUMBER * panel * PANEL,
        residual.ctypes.data + begin if len(residual) else 0,
        result.ctypes.data + begin,
        layer.outputs,
    )


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
            layer.outputs - panel * PANEL,
        )


@part
def _finish(  # noqa: PLR0917 - what is added
    panel: int,
    first: int,
    last: int,
    layer: Layer,
    residual: Array,
    products: Array,
    thread: int,
    result: Array,
) -> None:
    # What may be negative is looked at for each number, and keeps loops from being vectorized.
    begin = np.uint64(panel * PANEL)
    width = np.uint64(min(PANEL, layer.outputs - panel * PANEL))
    for index in range(last - first):
        row = first + index
        if layer.activation != PLAIN:
            _activate(layer, begin, width, products, thread, index, result, row)
        elif len(residual):
            for k in range(width):
                value = products[thread, 0, index, k] + layer.bias[0, begin + k]
                result[row, begin + k] = value + residual[row, begin + k]
        else:
            for k in range(width):
                result[row, begin + k] = products[thread, 0, index, k] + layer.bias[0, begin + k]


@part
def _activate(  # noqa: PLR0917 - what is read and where to
    layer: Layer,
    begin: np.uint64,
    width: np.uint64,
    products: Array,
    thread: int,
    index: int,
    result: Array,
    row: int,
) -> None:
    if layer.activation == GATED:
        for k in range(width):
            gate = gelu(products[thread, 1, index, k] + layer.bias[1, begin + k])
            value = products[thread, 0, index, k] + layer.bias[0, begin + k]
            result[row, begin + k] = value * gate
    elif layer.activation == GELU:
        for k in range(width):
            value = products[thread, 0, index, k] + layer.bias[0, begin + k]
            result[row, begin + k] = gelu(value)
    else:
        for k in range(width):
            value = products[thread, 0, index, k] + layer.bias[0, begin + k]
            result[row, begin + k] = quick_gelu(value)
