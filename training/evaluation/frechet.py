"""The Fréchet distance of features (Heusel et al. 2017, arXiv 1706.08500): FID on Inception's.

    |μ - m|² + tr Σ + tr Γ - 2 tr (Γ^½ Σ Γ^½)^½

with mean μ and covariance Σ of the drawings' features and m and Γ of the pictures'. With fewer
drawings N than features D, Σ has no full rank, and roots of D x D products need a crutch. Not so
here: with Σ = A Aᵀ, A (D, N), the last trace is that of the root of Aᵀ Γ A, which is N x N and
symmetric. It is exact for any N. What is left is the distance's own bias: the fewer drawings, the
larger it is, so only sets of the same size can be compared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.quality.intervals import Statistic


def frechet_distance(drawn: Tensor, real: Tensor) -> Statistic:
    """Return the distance between features of drawings (N, D) and of pictures (M, D).

    A drawing's influence is the derivative of the distance by the drawing's weight. That of the
    last trace is half of tr (T Δ), where T is the optimal map between the two Gaussians
    and Aᵀ T A the same root again.

    Raises:
        ValueError: there are fewer than two of either.
    """
    if min(len(drawn), len(real)) < 2:  # noqa: PLR2004 - a covariance needs two
        raise ValueError("a distance needs two drawings and two pictures at least")
    drawn, real = drawn.double(), real.double()
    count = len(drawn)
    centred, shift = drawn - drawn.mean(dim=0), drawn.mean(dim=0) - real.mean(dim=0)
    spread = (real - real.mean(dim=0)) / (len(real) - 1) ** 0.5
    root = _root((centred @ spread.T) @ (spread @ centred.T) / (count - 1))
    variances = centred.square().sum(dim=1) * count / (count - 1)
    matched = root.diagonal() * count
    value = shift.square().sum() + variances.mean() + spread.square().sum() - 2 * matched.mean()
    influences = 2 * centred @ shift + variances - matched
    return Statistic(float(value), influences.numpy())


def _root(matrix: Tensor) -> Tensor:
    """Return the square root of a symmetric matrix (N, N) without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root
