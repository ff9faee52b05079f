"""How far two computations of the same may be apart."""

from __future__ import annotations

from torch import Tensor

ALIKE = 1e-4
"""Largest difference of float32, as a share of the output's standard deviation."""


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, as a share of the expected values' deviation."""
    return float((found - expected).abs().max() / expected.std())
