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
    is_interrupted: bool = False
    """Whether somebody had no more patience."""


def descend(start: Grid, error_of: Callable[[Grid], float], most_evaluations: int) -> Found:
    """Move one timestep after the other while that makes the error less, by ever smaller steps.

    The last one goes first, so that what two grids in a row have in common is mostly how they
    begin, and the network has seen that already. The first timestep stays: there noise begins.
    Ctrl-C ends it, once the start was evaluated.

    Args:
        start: a grid.
        error_of: what is to become least.
        most_evaluations: after so many different grids it ends.

    Returns:
        The best grid that was evaluated.
    """
    errors = {start: error_of(start)}
    is_interrupted = False
    try:
        for grid in _tries(start, errors):
            if grid not in errors:
                if len(errors) >= most_evaluations:
                    break
                errors[grid] = error_of(grid)
    except KeyboardInterrupt:
        is_interrupted = True
    best = min(errors, key=errors.__getitem__)
    return Found(best, errors[best], len(errors), is_interrupted)


def _tries(start: Grid, errors: dict[Grid, float]) -> Iterator[Grid]:
    """Yield the grids to evaluate; whoever takes one puts its error down before the next."""
    best, share = start, FIRST_SHARE
    while True:
        before, any_room = best, False
        for place in range(len(start) - 1, 0, -1):
            for moved in _moved(best, place, share):
                any_room = True
                yield moved
                if errors[moved] < errors[best]:
                    best = moved
        if not any_room:
            return
        if best == before:
            share /= 2


def _moved(grid: Grid, place: int, share: float) -> Iterator[Grid]:
    """Yield a grid with a timestep nearer to either neighbour, where there is room."""
    here = grid[place]
    below = grid[place + 1] if place + 1 < len(grid) else 0
    for neighbour in (grid[place - 1], below):
        far = int(share * (neighbour - here))
        if far and here + far != neighbour:
            yield (*grid[:place], here + far, *grid[place + 1 :])
