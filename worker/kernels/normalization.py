"""Group normalization as a factor and a summand a channel, which whoever reads next applies."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from torch import nn

from worker.kernels.compiling import kernel, part, sequence, signed

Array = NDArray[np.float32]

_ROWS_AT_ONCE = 64
"""So many positions are added up in float32 before they are added to a sum in float64."""
_POSITIONS_A_PIECE = 256
"""Of an image, whose sums are one thread's."""


class GroupNorm(NamedTuple):
    """Wu and He 2018 (arXiv 1803.08494)."""

    weight: Array
    """(C)."""
    bias: Array
    """(C)."""
    groups: int
    """Of channels."""
    eps: float
    """Is added to each variance."""


class Factors(NamedTuple):
    """A normalization x * scale + offset."""

    scale: Array
    """(N, C)."""
    offset: Array
    """(N, C)."""


NONE = Factors(*np.empty((2, 1, 0), np.float32))
"""Normalizes nothing."""
NO_GROUP_NORM = GroupNorm(np.empty(0, np.float32), np.empty(0, np.float32), 0, 0.0)


def group_norm_of(norm: nn.GroupNorm) -> GroupNorm:
    """Read a normalization that has weights."""
    return GroupNorm(norm.weight.numpy(), norm.bias.numpy(), norm.num_groups, norm.eps)


@sequence
def factors_of(images: Array, norm: GroupNorm) -> Factors:
    """Return what makes of images (N, positions, C) their group normalization."""
    count, positions, channels = images.shape
    both = np.empty((2, count, channels), np.float32)
    factors = Factors(both[0], both[1])
    sums = np.empty((count, -(-positions // _POSITIONS_A_PIECE), 2, channels))
    group_norm_factors(images, sums, norm, factors)
    return factors


@part
def _add_up(begin: int, end: int, image: Array, sums: NDArray[np.float64]) -> None:
    """Fill sums (2, C) with those of the positions' distances from the first, and their squares.

    Taken from the first position's, squares do not swallow small variances.
    """
    channels = image.shape[1]
    origin = image[0]
    total = np.empty((2, channels), np.float32)
    sums[:] = 0
    for first in range(begin, end, _ROWS_AT_ONCE):
        total[:] = np.float32(0)
        for position in range(first, min(first + _ROWS_AT_ONCE, end)):
            for c in range(channels):
                value = image[position, c] - origin[c]
                total[0, c] += value
                total[1, c] += value * value
        for c in range(channels):
            sums[0, c] += total[0, c]
            sums[1, c] += total[1, c]


@part
def _factors_of(
    n: int, images: Array, sums: NDArray[np.float64], norm: GroupNorm, factors: Factors
) -> None:
    """Fill a row of factors from the sums of an image's pieces, whose first takes up the others."""
    _, positions, channels = images.shape
    pieces = sums.shape[1]
    whole = sums[n, 0]
    for piece in range(1, pieces):
        for which in range(2):
            for c in range(channels):
                whole[which, c] += sums[n, piece, which, c]
    width = channels // norm.groups
    share, share_of_group = 1 / positions, 1 / width
    for group in range(norm.groups):
        mean, variance = 0.0, 0.0
        for c in range(group * width, (group + 1) * width):
            mean += images[n, 0, c] + whole[0, c] * share
        mean *= share_of_group
        for c in range(group * width, (group + 1) * width):
            away = images[n, 0, c] - mean
            variance += whole[1, c] * share + away * (away + 2 * whole[0, c] * share)
        inverse = 1 / np.sqrt(variance * share_of_group + norm.eps)
        for c in range(group * width, (group + 1) * width):
            factors.scale[n, c] = norm.weight[c] * inverse
            factors.offset[n, c] = norm.bias[c] - mean * norm.weight[c] * inverse


@kernel
def group_norm_factors(
    images: Array, sums: NDArray[np.float64], norm: GroupNorm, factors: Factors
) -> None:
    """Compute what makes of x its group normalization.

    Args:
        images: (N, positions, C).
        sums: (N, pieces, 2, C), for the sums of as many pieces of each image; is overwritten.
        norm: which.
        factors: of (N, C), are filled.
    """
    count, positions, _ = images.shape
    pieces = sums.shape[1]
    for each in numba.prange(count * pieces):
        index = signed(each)
        n, piece = index // pieces, index % pieces
        begin, end = positions * piece // pieces, positions * (piece + 1) // pieces
        _add_up(begin, end, images[n], sums[n, piece])
    for each in numba.prange(count):
        _factors_of(signed(each), images, sums, norm, factors)
