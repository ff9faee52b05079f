"""Rows of a batch that stand for more than one: latents of which each serves several texts."""

from __future__ import annotations

from collections.abc import MutableMapping

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

_firsts: MutableMapping[Tensor, dict[int, Tensor]] = WeakIdKeyDictionary()


def spread(values: Tensor, rows: int) -> Tensor:
    """Return (B, …) as (rows, …): all of it again and again, or itself where it has so many."""
    if values.shape[0] == rows:
        return values
    # Unlike repeat, it leaves channels last where they are.
    return torch.cat([values] * (rows // values.shape[0]))


def first(values: Tensor, rows: int) -> Tensor:
    """Return the first rows, or values themselves where these are all.

    In inference mode it is the same tensor each time, so that others may remember what they made
    of it.
    """
    if values.shape[0] == rows:
        return values
    # Elsewhere a part would keep the whole, and so itself, for ever.
    if torch.compiler.is_compiling() or not values.is_inference():
        return values[:rows]
    known = _firsts.setdefault(values, {})
    if rows not in known:
        known[rows] = values[:rows]
    return known[rows]
