"""How far the drawings as a whole are from the pictures of the data: the kernel distance.

It is the squared maximum mean discrepancy of features, without bias in the number of drawings.
Under a cubic kernel it is the kernel inception distance (Binkowski et al. 2018, arXiv 1801.01401).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from training.quality.intervals import Statistic

Kernel = Callable[[Tensor, Tensor], Tensor]
"""From features (N, D) and (M, D) to (N, M)."""
_POWER = 3


def cubic_kernel(left: Tensor, right: Tensor) -> Tensor:
    """Return Binkowski's (x · y / D + 1)³ of features (N, D) and (M, D): (N, M)."""
    kernel: Tensor = (left @ right.T / left.shape[1] + 1) ** _POWER
    return kernel


def kernel_distance(drawn: Tensor, real: Tensor, kernel: Kernel = cubic_kernel) -> Statistic:
    """Return the distance between features of drawings (N, D) and of pictures (M, D).

    Args:
        drawn: of drawings.
        real: of pictures.
        kernel: of the space in which means are compared.

    Raises:
        ValueError: there are fewer than two of either.
    """
    if min(len(drawn), len(real)) < 2:  # noqa: PLR2004 - a pair is two
        raise ValueError("a distance needs two drawings and two pictures at least")
    drawn, real = drawn.double(), real.double()
    among_drawn = _mean_with_others(drawn, kernel)
    to_real = kernel(drawn, real).mean(dim=1)
    value = among_drawn.mean() - 2 * to_real.mean() + _mean_with_others(real, kernel).mean()
    return Statistic(float(value), (2 * (among_drawn - to_real)).numpy())


def _mean_with_others(features: Tensor, kernel: Kernel) -> Tensor:
    of_all = kernel(features, features)
    mean: Tensor = (of_all.sum(dim=1) - of_all.diagonal()) / (len(features) - 1)
    return mean
