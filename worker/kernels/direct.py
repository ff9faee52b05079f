"""Convolution with 3 x 3 filters as it is defined: for few positions, strides and few channels.

Its filters are as large as the weights. Winograd's are four times that, and where they meet few
tiles, reading them takes longer than multiplying.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
from torch import Tensor

from worker.kernels.compiling import kernel, part, sequence, signed
from worker.kernels.normalization import Array, Factors
from worker.kernels.products import PANEL, ROWS, VECTORS, add_products, packed, store_with_residual
from worker.kernels.reading import read_row
from worker.kernels.vectors import BYTES_A_NUMBER, LANES, Emitter, emitted

SIDE = 3
"""Of a filter."""
FILTER = SIDE * SIDE
BLOCK_BYTES = 4 * 2**20
"""Of what is read before it is multiplied: about what stays in a processor's cache."""


class Sampling(NamedTuple):
    """How a convolution's outputs lie over its inputs."""

    factor: int
    """How often each input counts in height and in width (nearest upsampling)."""
    stride: int
    """From an output to the next."""


class Slab(NamedTuple):
    """Some rows of all images' outputs."""

    first: int
    high: int
    """How many."""


def direct_filters(weight: Tensor) -> Array:
    """Pack filters (K, C, 3, 3): (panels, 9 * C, PANEL), a row of a filter after the other."""
    return packed(weight.permute(0, 2, 3, 1).flatten(1).numpy())


def space_of_direct(images: tuple[int, ...], factor: int) -> int:
    """Return how many numbers lie between the steps of a convolution of (N, H, W, C)."""
    count, height, width, channels = images
    a_row = count * (factor * width + SIDE - 1) * channels
    rows = max(SIDE, BLOCK_BYTES // (BYTES_A_NUMBER * a_row))
    return a_row * min(rows, factor * height + SIDE - 1)


@sequence
def convolve_directly(  # noqa: PLR0917 - what a convolution is of
    images: Array,
    sampling: Sampling,
    factors: Factors,
    panels: Array,
    shift: Array,
    residual: Array,
    workspace: Array,
    target: Array,
) -> None:
    """Convolve, as many rows of all images at once as there is space for.

    Args:
        images: (N, H, W, C).
        sampling: how outputs lie over it.
        factors: SiLU of the input so normalized is convolved; of no channels: the input itself.
        panels: from `direct_filters`.
        shift: (N, at least K), is added at each position.
        residual: like ``target``, is added; of no images: nothing is.
        workspace: of at least `space_of_direct`, is overwritten.
        target: (N, H, W, K), K a multiple of `LANES`, is filled.
    """
    count, height, _, _ = target.shape
    wide = images.shape[2] * sampling.factor + SIDE - 1
    a_row = count * wide * images.shape[3]
    most = max(1, (len(workspace) // a_row - SIDE) // sampling.stride + 1)
    for first in range(0, height, most):
        high = min(most, height - first)
        inputs = (high - 1) * sampling.stride + SIDE
        rows = workspace[: inputs * a_row].reshape((count, inputs, wide, images.shape[3]))
        slab = Slab(first, high)
        multiply_slab(images, sampling, factors, panels, shift, residual, slab, rows, target)


@kernel
def multiply_slab(  # noqa: PLR0913, PLR0917 - what a convolution is of
    images: Array,
    sampling: Sampling,
    factors: Factors,
    panels: Array,
    shift: Array,
    residual: Array,
    slab: Slab,
    rows: Array,
    target: Array,
) -> None:
    """Convolve some rows of all images.

    Args:
        images: this and the next five as in `convolve_directly`.
        sampling: see there.
        factors: see there.
        panels: see there.
        shift: see there.
        residual: see there.
        slab: which rows of the outputs.
        rows: (N, rows of inputs, their width with edges, C), is overwritten.
        target: (N, H, W, K), is filled where the slab lies.
    """
    count, high, _, _ = rows.shape
    for each in numba.prange(count * high):
        index = signed(each)
        n, i = index // high, index % high
        y = slab.first * sampling.stride - 1 + i
        read_row(images, sampling.factor, factors, n, y, rows, n, i)
    blocks = -(-slab.high * target.shape[2] // ROWS)
    jobs = -(-target.shape[3] // PANEL) * count * blocks
    for each in numba.prange(jobs):
        job = signed(each)
        panel, n, block = job // (count * blocks), job // blocks % count, job % blocks
        _multiply(panel, n, block, panels, shift, residual, slab, sampling.stride, rows, target)


def products_of_slab(*arguments: Any) -> int:
    """Count the products that `multiply_slab` takes of such arguments."""
    _, _, _, panels, _, _, slab, _, target = arguments
    count, _, width, outputs = target.shape
    return int(count * slab.high * width * panels.shape[1] * outputs)


@part
def _multiply(  # noqa: PLR0913, PLR0917 - what is read and where to
    panel: int,
    n: int,
    block: int,
    panels: Array,
    shift: Array,
    residual: Array,
    slab: Slab,
    stride: int,
    rows: Array,
    target: Array,
) -> None:
    _, high, wide, channels = rows.shape
    _, height, width, outputs = target.shape
    begin = panel * PANEL
    at = BYTES_A_NUMBER * ((n * height + slab.first) * width * outputs + begin)
    arguments = (
        rows.ctypes.data + BYTES_A_NUMBER * n * high * wide * channels,
        wide * channels,
        channels,
        panels.ctypes.data + BYTES_A_NUMBER * panel * panels.shape[1] * PANEL,
        shift.ctypes.data + BYTES_A_NUMBER * (n * shift.shape[1] + begin),
        residual.ctypes.data + at if len(residual) else 0,
        target.ctypes.data + at,
        outputs,
        block * ROWS,
        slab.high * width,
        width,
        stride,
    )
    if outputs - begin > LANES:
        _convolve_block(*arguments)
    else:
        _convolve_narrow_block(*arguments)


def _block_of(vectors: int) -> Any:
    """Make a function that computes some outputs of ROWS positions.

    Where there are fewer, it makes the last ones again.

    Arguments: address of the rows of the first position's inputs; numbers from one of these to the
    next; channels; address of a panel, of what is added, of the residual (0: none) and of the
    first position's outputs; numbers from one of these to the next; the first position; how
    many there are; how many in a row; the stride.

    Args:
        vectors: of outputs.
    """

    def write(  # noqa: PLR0913, PLR0917 - see above
        emitter: Emitter,
        inputs: Any,
        row: Any,
        channels: Any,
        panel: Any,
        shift: Any,
        residual: Any,
        outputs: Any,
        step: Any,
        first: Any,
        count: Any,
        width: Any,
        stride: Any,
    ) -> None:
        builder = emitter.builder
        source, weights, added = (emitter.pointer(one) for one in (inputs, panel, shift))
        last = builder.sub(count, emitter.index(1))
        positions = []
        for index in range(ROWS):
            at = builder.add(first, emitter.index(index))
            positions.append(builder.select(builder.icmp_signed("<", at, last), at, last))
        starts = []
        for at in positions:
            y, x = builder.udiv(at, width), builder.urem(at, width)
            line = builder.add(builder.mul(y, row), builder.mul(x, channels))
            starts.append(builder.gep(source, [builder.mul(stride, line)]))
        sums = [emitter.load(added, emitter.index(k * LANES)) for k in range(vectors)] * ROWS
        run = builder.mul(channels, emitter.index(SIDE))
        with emitter.counting(emitter.index(SIDE), 1, sums) as of_rows:
            further = builder.mul(of_rows.at, row)
            beginnings = [builder.gep(start, [further]) for start in starts]
            panel_at = builder.gep(
                weights, [builder.mul(builder.mul(of_rows.at, run), emitter.index(PANEL))]
            )
            with emitter.counting(run, 1, of_rows.carried) as loop:
                loop.handed = add_products(emitter, beginnings, panel_at, loop.at, loop.carried)
            of_rows.handed = loop.handed
        places = [builder.mul(at, step) for at in positions]
        store_with_residual(emitter, of_rows.handed, places, residual, outputs)

    return emitted(write)


_convolve_block, _convolve_narrow_block = _block_of(VECTORS), _block_of(1)
