"""Precision and recall of drawings (Kynkäänniemi et al. 2019, arXiv 1904.06991).

A set's manifold is the union of balls around its features, each as large as the distance to the
k-th nearest other one of the set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.quality.intervals import Values

NEIGHBOURS = 3
"""k, as published."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """1 for what is inside the other set's manifold, 0 for what is not."""

    precision: Values
    """(N,): of each drawing, among the pictures."""
    recall: Values
    """(M,): of each picture, among the drawings. Its mean is sure or not as pictures are many or
    few: a drawing that a bootstrap takes twice would be a neighbour of itself."""


def coverage(drawn: Tensor, real: Tensor) -> Coverage:
    """Compare features of drawings (N, D) with those of pictures (M, D).

    Raises:
        ValueError: there are no more than `NEIGHBOURS` of either.
    """
    if min(len(drawn), len(real)) <= NEIGHBOURS:
        raise ValueError(f"a manifold needs more than {NEIGHBOURS} drawings and pictures")
    drawn, real = drawn.double(), real.double()
    apart = torch.cdist(drawn, real)
    return Coverage(
        precision=_any(apart <= _radii(real)),
        recall=_any(_radii(drawn) >= apart.T),
    )


def _radii(features: Tensor) -> Tensor:
    """Return the distance of each feature to its k-th nearest other one, (N,)."""
    apart = torch.cdist(features, features)
    apart.fill_diagonal_(0)  # cdist's own is not quite
    return apart.kthvalue(NEIGHBOURS + 1, dim=1).values


def _any(inside: Tensor) -> Values:
    return inside.any(dim=1).numpy().astype(np.float64)
