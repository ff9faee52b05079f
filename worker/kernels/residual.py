"""A residual block as one call: normalize, activate, convolve, twice, and add what went in."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from worker.kernels.compiling import as_many_threads_as_torch, sequence
from worker.kernels.convolution import (
    Filters,
    channels_last,
    convolve_into,
    space_of_convolution,
)
from worker.kernels.direct import Sampling
from worker.kernels.layer_norm import NO_NORM
from worker.kernels.normalization import NONE, Array, GroupNorm, factors_of
from worker.kernels.projection import Layer, project_into, space_of_projection
from worker.kernels.workspace import workspace_of

ONCE = Sampling(1, 1)


class Residual(NamedTuple):
    """He et al. 2015 (arXiv 1512.03385), as diffusers' networks have it."""

    norm1: GroupNorm
    filters1: Filters
    """Of (K, C, 3, 3)."""
    norm2: GroupNorm
    filters2: Filters
    """Of (K, K, 3, 3)."""
    shortcut: Layer
    """From C to K; of no outputs: what went in is added as it is."""


def add_residual(images: Tensor, block: Residual, shift1: Tensor, shift2: Tensor) -> Tensor:
    """Run a residual block.

    Args:
        images: (N, C, H, W), float32; quickest where channels are last.
        block: its weights.
        shift1: (N, K), is added to the first convolution: its bias, and the embedded timestep.
        shift2: (N, K), is added to the second.

    Returns:
        (N, K, H, W), channels last.
    """
    count, _, height, width = images.shape
    shape = (count, block.filters2.outputs, height, width)
    result = torch.empty(shape, memory_format=torch.channels_last)
    source, target = channels_last(images), channels_last(result)
    with as_many_threads_as_torch() as threads:
        between = max(
            space_of_convolution(block.filters1, source.shape, ONCE, target.shape, threads),
            space_of_convolution(block.filters2, target.shape, ONCE, target.shape, threads),
            space_of_projection(source.shape[3], threads),
        )
        maps = 2 if block.shortcut.outputs else 1
        space = workspace_of(maps * prod(shape) + between)
        _run(source, block, shift1.numpy(), shift2.numpy(), threads, space, target)
    return result


@sequence
def _run(  # noqa: PLR0917 - what a block is of
    images: Array,
    block: Residual,
    shift1: Array,
    shift2: Array,
    threads: int,
    workspace: Array,
    target: Array,
) -> None:
    """Fill (N, H, W, K) from (N, H, W, C)."""
    count, height, width, inputs = images.shape
    outputs, positions = target.shape[3], height * width
    middle = workspace[: target.size].reshape(target.shape)
    begin, once = target.size, Sampling(1, 1)
    if block.shortcut.outputs > 0:
        kept = workspace[begin : 2 * begin].reshape(target.shape)
        begin += target.size
    else:
        kept = images
    between = workspace[begin:]
    factors = factors_of(images.reshape((count, positions, inputs)), block.norm1)
    none = target[:0]
    convolve_into(images, once, factors, block.filters1, shift1, none, threads, between, middle)
    if block.shortcut.outputs > 0:
        rows = images.reshape((count * positions, inputs))
        made = kept.reshape((count * positions, outputs))
        project_into(rows, NO_NORM, NONE, block.shortcut, made[:0], threads, between, made)
    factors = factors_of(middle.reshape((count, positions, outputs)), block.norm2)
    convolve_into(middle, once, factors, block.filters2, shift2, kept, threads, between, target)
