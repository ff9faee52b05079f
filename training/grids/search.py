"""Searches grids with some images, and checks them with others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.domain.sampling import SchedulerName
from shared.models.grids import read_grids
from training.grids.descent import Found, Grid, descend
from training.grids.errors import Errors, SolverErrors
from training.grids.squeezes import squeeze_of
from training.quality.intervals import Interval, mean_interval
from worker.diffusion.solvers import plot_course

BASELINE_STEPS = 16
"""Of a plain grid: what ten squeezed steps were published to come near to."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Mean errors along a grid."""

    grid: Grid
    searched_with: float
    """On the images that grids are searched with."""
    held_out: Interval
    """On those that no search has seen."""
    over_baseline: Interval
    """On the latter too: less what `BASELINE_STEPS` plain steps have."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search came to, beside what there was before."""

    found: Found
    ways: Mapping[str, Measured]
    """``plain``, ``squeezed``, ``saved`` if the model had a grid of so many steps, ``searched``."""


class GridSearch:
    """Searches the grids of one model."""

    def __init__(
        self, config: Mapping[str, Any], searched_with: SolverErrors, held_out: SolverErrors
    ) -> None:
        """Measure the baseline.

        Args:
            config: the model's ``scheduler_config.json``; its grids are gone on from.
            searched_with: what a search makes least, on average.
            held_out: tells what it came to, of other images.
        """
        self._config = config
        self._searched_with = searched_with
        self._held_out = held_out
        self._baseline = held_out.along(self._plain(BASELINE_STEPS))

    def search(self, steps: int, evaluations: int, on_try: Callable[[float], None]) -> Outcome:
        """Search a grid of so many steps, from the best one there is.

        Args:
            steps: two or more.
            evaluations: different grids, at most.
            on_try: told of the error of each.

        Raises:
            ConfigurationError: the model's grids are broken.
            ValueError: so many steps have no place in the model's grid.
        """
        there = self.known(steps)

        def error_of(grid: Grid) -> float:
            error = self._error(grid)
            on_try(error)
            return error

        found = descend(min(there.values(), key=self._error), error_of, evaluations)
        known = there | {"searched": found.grid}
        return Outcome(found, {name: self._measured(grid) for name, grid in known.items()})

    def known(self, steps: int) -> dict[str, Grid]:
        """Return the grids of so many steps that need no search.

        Raises:
            ConfigurationError: the model's grids are broken.
            ValueError: so many steps have no place in the model's grid.
        """
        base_steps, squeeze = squeeze_of(steps)
        found = {"plain": self._plain(steps), "squeezed": self._plotted(base_steps, str(squeeze))}
        saved = read_grids(self._config).get(steps)
        return found if saved is None else found | {"saved": saved}

    def _plain(self, steps: int) -> Grid:
        return self._plotted(steps, None)

    def _plotted(self, steps: int, squeeze: str | None) -> Grid:
        course = plot_course(self._config, SchedulerName.DPM_SOLVER, steps, squeeze)
        return tuple(int(timestep) for timestep in course.timesteps)

    def _error(self, grid: Grid) -> float:
        mean = float(self._searched_with.along(grid).mean())
        return mean if math.isfinite(mean) else math.inf

    def _measured(self, grid: Grid) -> Measured:
        errors = self._held_out.along(grid)
        over: Errors = errors - self._baseline
        return Measured(grid, self._error(grid), mean_interval(errors), mean_interval(over))


def in_turn(prompts: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Deal prompts out: every second one is held out.

    Raises:
        ValueError: there is only one of them, or none.
    """
    if len(prompts) < len(("searched with", "held out")):
        raise ValueError("two prompts are needed: one to search with, and one that is held out")
    return prompts[::2], prompts[1::2]
