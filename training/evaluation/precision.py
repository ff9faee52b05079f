"""Precision and recall of drawings (Kynkäänniemi et al. 2019, arXiv 1904.06991).

A set's manifold is the union of balls around its features, each as large as the distance to the
k-th nearest other one of the set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.quality.intervals import Statistic, Values

NEIGHBOURS = 3
"""k, as published."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of each set is inside the other's manifold."""

    precision: Values
    """(N,): 1 for each drawing among the pictures, else 0."""
    recall: Statistic
    """Share of the pictures among the drawings."""


def coverage(drawn: Tensor, real: Tensor) -> Coverage:
    """Compare features of drawings (N, D) with those of pictures (M, D).

    Raises:
        ValueError: there are no more than `NEIGHBOURS` pictures, or not one drawing more.
    """
    if len(real) <= NEIGHBOURS or len(drawn) <= NEIGHBOURS + 1:
        raise ValueError(
            f"a manifold needs more than {NEIGHBOURS} pictures, and {NEIGHBOURS + 1} drawings"
        )
    drawn, real = drawn.double(), real.double()
    apart = torch.cdist(drawn, real)
    inside = (apart <= _radii(_between(real), NEIGHBOURS)).any(dim=1)
    return Coverage(inside.numpy().astype(np.float64), _recall(_between(drawn), apart))


def _recall(between: Tensor, apart: Tensor) -> Statistic:
    """Return the share of pictures that are covered, and what each drawing adds to it.

    That is the jackknife's influence (Efron and Tibshirani 1993, chapter 11): a bootstrap would
    take some drawings twice, each of which is then a neighbour of itself.

    Args:
        between: of drawings (N, N).
        apart: from drawings to pictures (N, M).
    """
    radii, wider = (_radii(between, count) for count in (NEIGHBOURS, NEIGHBOURS + 1))
    inside = apart <= radii[:, None]
    covering = inside.sum(dim=0)
    without = []
    for number, near in enumerate(between):
        # Without a drawing only the balls of those that it is a neighbour of are larger.
        grown = near <= radii
        grown[number] = False
        by_others = covering > inside[number]
        by_grown = (apart[grown] <= wider[grown, None]).any(dim=0)
        without.append(_share(by_others | by_grown))
    shares = np.array(without)
    return Statistic(_share(covering > 0), (len(shares) - 1) * (shares.mean() - shares))


def _share(covered: Tensor) -> float:
    return float(covered.double().mean())


def _between(features: Tensor) -> Tensor:
    return torch.cdist(features, features).fill_diagonal_(0)  # cdist's own is not quite


def _radii(between: Tensor, neighbours: int) -> Tensor:
    """Return the distance of each feature to its k-th nearest other one, (N,)."""
    return between.kthvalue(neighbours + 1, dim=1).values
