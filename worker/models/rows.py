"""Rows of a batch that stand for more than one: latents of which each serves several texts."""

from __future__ import annotations

from torch import Tensor


def spread(values: Tensor, rows: int) -> Tensor:
    """Return (B, …) as (rows, …): all of it again and again, or itself where it has so many."""
    if values.shape[0] == rows:
        return values
    return values.repeat(rows // values.shape[0], *[1] * (values.ndim - 1))
