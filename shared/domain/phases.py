"""How long the phases of images take, counted in buckets that never change."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple, Self

MILLISECOND = 1_000_000
"""In nanoseconds."""
BOUNDS_NS = tuple(
    milliseconds * MILLISECOND
    for milliseconds in (
        *(1, 2, 5, 10, 20, 50, 100, 200, 500),
        *(1_000, 2_000, 5_000, 10_000, 30_000, 60_000),
    )
)
UNBOUNDED_NS = 2**63 - 1
"""The bound of what takes longer than all of these; it is kept as a whole number of SQL's."""
ALL_BOUNDS_NS = (*BOUNDS_NS, UNBOUNDED_NS)


def bound_of(nanoseconds: int) -> int:
    """Return the bound of the bucket of what took so long."""
    return ALL_BOUNDS_NS[bisect_left(BOUNDS_NS, nanoseconds)]


class PhaseBucket(NamedTuple):
    """A phase, and how long it took at most."""

    phase: str
    most_ns: int
    """One of `BOUNDS_NS`, or `UNBOUNDED_NS`; it took longer than the one before."""


class PhaseSum(NamedTuple):
    """Phases of some images together."""

    images: int
    nanoseconds: int

    def __add__(self, other: Self) -> Self:  # type: ignore[override]
        """Put some more to these."""
        return type(self)(self.images + other.images, self.nanoseconds + other.nanoseconds)


PhaseSums = Mapping[PhaseBucket, PhaseSum]
