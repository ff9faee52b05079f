"""The distance of Jayasumana et al. 2024 (arXiv 2401.09603), there on features of CLIP: CMMD."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from training.quality.distance import kernel_distance
from training.quality.intervals import Statistic

SIGMA = 10.0
"""Width of the Gaussian kernel, and the factor of the result, both as published."""
SCALE = 1000.0


def gaussian_kernel(left: Tensor, right: Tensor) -> Tensor:
    """Return exp(-|x - y|² / 2 σ²) of features (N, D) and (M, D): (N, M)."""
    return torch.exp(-torch.cdist(left, right).square() / (2 * SIGMA**2))


def gaussian_distance(drawn: Tensor, real: Tensor) -> Statistic:
    """Return the squared mean discrepancy of features (N, D) and (M, D), brought to length 1.

    Unlike the published code's, it has no bias in the number of drawings, as `kernel_distance`
    says; so it may be below zero.

    Raises:
        ValueError: there are fewer than two of either.
    """
    drawn, real = (functional.normalize(each.double(), dim=1) for each in (drawn, real))
    found = kernel_distance(drawn, real, gaussian_kernel)
    return Statistic(SCALE * found.value, SCALE * found.influences)
