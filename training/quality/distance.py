"""How far the drawings as a whole are from the pictures of the data: the kernel distance.

Kernel inception distance (Binkowski et al. 2018, arXiv 1801.01401): the squared maximum mean
discrepancy of features under a cubic kernel, without bias in the number of drawings.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from training.quality.intervals import Values

_POWER = 3


@dataclass(frozen=True, slots=True)
class Distance:
    """The kernel distance of one set of drawings from the data's pictures."""

    value: float
    influences: Values
    """(N,): what each drawing adds to the distance, to first order. Their mean's bootstrap is
    the distance's; the difference of two sets' is that of the distances, drawing by drawing."""


def kernel_distance(drawn: Tensor, real: Tensor) -> Distance:
    """Return the distance between features of drawings (N, D) and of pictures (M, D).

    Raises:
        ValueError: there are fewer than two of either.
    """
    if min(len(drawn), len(real)) < 2:  # noqa: PLR2004 - a pair is two
        raise ValueError("a distance needs two drawings and two pictures at least")
    drawn, real = drawn.double(), real.double()
    among_drawn = _mean_with_others(drawn)
    to_real = _kernel(drawn, real).mean(dim=1)
    value = among_drawn.mean() - 2 * to_real.mean() + _mean_with_others(real).mean()
    return Distance(float(value), (2 * (among_drawn - to_real)).numpy())


def _kernel(left: Tensor, right: Tensor) -> Tensor:
    return (left @ right.T / left.shape[1] + 1) ** _POWER


def _mean_with_others(features: Tensor) -> Tensor:
    kernel = _kernel(features, features)
    mean: Tensor = (kernel.sum(dim=1) - kernel.diagonal()) / (len(features) - 1)
    return mean
