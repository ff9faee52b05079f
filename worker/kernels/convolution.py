"""Convolutions on tensors of the processor: normalize, activate, filter, add."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from worker.kernels.compiling import as_many_threads_as_torch, part_for_both, sequence
from worker.kernels.direct import Sampling, convolve_directly, direct_filters, space_of_direct
from worker.kernels.normalization import NO_GROUP_NORM, NONE, Array, Factors, GroupNorm, factors_of
from worker.kernels.products import PANEL
from worker.kernels.strips import convolve_by_tiles, space_of_strips, winograd_filters
from worker.kernels.vectors import LANES
from worker.kernels.winograd import PLACES, TILE
from worker.kernels.workspace import workspace_of

GRAIN = 16
"""Channels of whole vectors, on any processor."""
FEW_TILES = 4
"""So many are filtered directly: they would not fill a block of Winograd's products."""


class Filters(NamedTuple):
    """Filters (K, C, 3, 3) of a convolution, padded by one."""

    direct: Array
    """(panels, 9 * C, PANEL), from `direct_filters`."""
    winograd: Array
    """(36, panels, C, PANEL), from `winograd_filters`; of no panels: all is done directly."""
    outputs: int
    """K."""


def filters_of(weight: Tensor, *, by_tiles: bool) -> Filters:
    """Pack filters (K, C, 3, 3).

    Args:
        weight: float32.
        by_tiles: whether Winograd's are made, too, four times as large; K and C are multiples of
            `GRAIN` then.
    """
    none = np.empty((PLACES, 0, 0, PANEL), np.float32)
    winograd = winograd_filters(weight) if by_tiles else none
    return Filters(direct_filters(weight), winograd, len(weight))


def convolve(
    images: Tensor,
    filters: Filters,
    shift: Tensor,
    *,
    norm: GroupNorm = NO_GROUP_NORM,
    doubles: bool = False,
    stride: int = 1,
    residual: Tensor | None = None,
) -> Tensor:
    """Convolve with 3 x 3 filters, padded by one.

    Args:
        images: (N, C, H, W), float32; quickest where channels are last.
        filters: of (K, C, 3, 3).
        shift: (N, K), is added at each position; K made up to `whole_vectors`.
        norm: where it has groups, SiLU of the input so normalized is convolved.
        doubles: whether the input is enlarged to twice its sides first, by its nearest values.
        stride: of the input, from an output to the next; not with ``doubles``.
        residual: (N, K, H, W), is added; K is a multiple of `GRAIN`.

    Returns:
        (N, K, H, W), or of other sides, channels last.
    """
    count, _, height, width = images.shape
    factor = 2 if doubles else 1
    outputs = whole_vectors(filters.outputs)
    shape = (count, outputs, -(-factor * height // stride), -(-factor * width // stride))
    result = torch.empty(shape, memory_format=torch.channels_last)
    source, target = channels_last(images), channels_last(result)
    added = target[:0] if residual is None else channels_last(residual)
    with as_many_threads_as_torch() as threads:
        sampling = Sampling(factor, stride)
        space = space_of_convolution(filters, source.shape, sampling, target.shape, threads)
        _normalize_and_convolve(
            source,
            sampling,
            norm,
            filters,
            shift.numpy(),
            added,
            threads,
            workspace_of(space),
            target,
        )
    return result[:, : filters.outputs]


def space_of_convolution(
    filters: Filters,
    images: tuple[int, ...],
    sampling: Sampling,
    target: tuple[int, ...],
    threads: int,
) -> int:
    """Return how many numbers lie between the steps of a convolution, of `convolve_into`."""
    count, height, width, _ = target
    if _goes_by_tiles(filters.winograd, sampling.stride, count, height, width):
        return space_of_strips(filters.winograd, target, threads)
    return space_of_direct(images, sampling.factor)


@sequence
def _normalize_and_convolve(  # noqa: PLR0913, PLR0917 - what a convolution is of
    images: Array,
    sampling: Sampling,
    norm: GroupNorm,
    filters: Filters,
    shift: Array,
    residual: Array,
    threads: int,
    workspace: Array,
    target: Array,
) -> None:
    count, height, width, channels = images.shape
    factors = NONE
    if norm.groups > 0:
        factors = factors_of(images.reshape((count, height * width, channels)), norm)
    convolve_into(images, sampling, factors, filters, shift, residual, threads, workspace, target)


@sequence
def convolve_into(  # noqa: PLR0913, PLR0917 - what a convolution is of
    images: Array,
    sampling: Sampling,
    factors: Factors,
    filters: Filters,
    shift: Array,
    residual: Array,
    threads: int,
    workspace: Array,
    target: Array,
) -> None:
    """Convolve by the one way or the other.

    Args:
        images: (N, H, W, C).
        sampling: how outputs lie over it.
        factors: SiLU of the input so normalized is convolved; of no channels: the input itself.
        filters: which.
        shift: (N, at least K), is added at each position.
        residual: like ``target``, is added; of no images: nothing is.
        threads: how many there are.
        workspace: of at least `space_of_convolution`, is overwritten.
        target: (N, H, W, K), K a multiple of `LANES`, is filled.
    """
    count, height, width, _ = target.shape
    if _goes_by_tiles(filters.winograd, sampling.stride, count, height, width):
        convolve_by_tiles(
            images,
            sampling.factor,
            factors,
            filters.winograd,
            shift,
            residual,
            threads,
            workspace,
            target,
        )
    else:
        convolve_directly(
            images, sampling, factors, filters.direct, shift, residual, workspace, target
        )


@part_for_both
def _goes_by_tiles(winograd: Array, stride: int, count: int, height: int, width: int) -> bool:
    tiles = count * -(-height // TILE) * -(-width // TILE)
    return stride == 1 and winograd.shape[1] > 0 and tiles > FEW_TILES


def whole_vectors(channels: int) -> int:
    """Return the least multiple of what a vector holds that is no less."""
    return -(-channels // LANES) * LANES


def channels_last(images: Tensor) -> Array:
    """Return (N, H, W, C) of (N, C, H, W), of the same memory where that lies so."""
    array: Array = images.permute(0, 2, 3, 1).contiguous().numpy()
    return array
