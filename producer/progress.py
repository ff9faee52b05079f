"""How far something is that takes a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """So much of it is done."""

    doing: str
    """What is counted: ``images``."""
    done: int
    total: int
    bytes: int = 0
    """How many were written for it."""


Report = Callable[[Progress], None]


def unseen(_: Progress) -> None:
    """Show nobody how far it is."""
