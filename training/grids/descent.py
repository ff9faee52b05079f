"""Coordinate descent over falling timesteps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

Grid = tuple[int, ...]
"""Falling timesteps of training."""
FIRST_SHARE = 0.5
"""Of the gap to its neighbour, how far a timestep is moved at first."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where the descent came to."""

    grid: Grid
    error: float
    evaluations: int
    """Of different grids."""


def descend(start: Grid, error_of: Callable[[Grid], float], most_evaluations: int) -> Found:
    """Move one timestep after the other while that makes the error less, by ever smaller steps.

    The first timestep stays: that is where noise begins.

    Args:
        start: a grid.
        error_of: what is to become least.
        most_evaluations: after so many different grids it ends.

    Returns:
        The best grid that was evaluated.
    """
    known: dict[Grid, float] = {}

    def measured(grid: Grid) -> float:
        if grid not in known:
            known[grid] = error_of(grid)
        return known[grid]

    best, least, share = start, measured(start), FIRST_SHARE
    while share and len(known) < most_evaluations:
        before = least
        moves = 0
        for place in range(1, len(start)):
            for moved in _moved(best, place, share):
                if len(known) >= most_evaluations:
                    break
                moves += 1
                if measured(moved) < least:
                    best, least = moved, known[moved]
        if not moves:
            break
        if least == before:
            share /= 2
    return Found(best, least, len(known))


def _moved(grid: Grid, place: int, share: float) -> Iterator[Grid]:
    """Yield a grid with a timestep nearer to either neighbour, where there is room."""
    here = grid[place]
    below = grid[place + 1] if place + 1 < len(grid) else 0
    for neighbour in (grid[place - 1], below):
        far = int(share * (neighbour - here))
        if far and here + far != neighbour:
            yield (*grid[:place], here + far, *grid[place + 1 :])
