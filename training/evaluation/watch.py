"""Who is told how far an evaluation has come."""

from __future__ import annotations

from typing import Protocol


class Watch(Protocol):
    """Told what begins and what of it is done."""

    def begin(self, what: str, total: int) -> None:
        """Take note of what begins, and of how many parts it has."""
        ...

    def advance(self, parts: int) -> None:
        """Take note of parts that are done."""
        ...


class Unwatched:
    """Tells nobody."""

    def begin(self, what: str, total: int) -> None:
        """Do nothing."""

    def advance(self, parts: int) -> None:
        """Do nothing."""
