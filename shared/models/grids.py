"""Grids of timesteps that were searched for a model, kept in its ``scheduler_config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from shared.errors import ConfigurationError

KEY = "searched_timesteps"
"""Of an object: by the number of steps, as many timesteps, falling."""
TRAINED_TIMESTEPS = 1000

Grids = Mapping[int, tuple[int, ...]]
"""By the number of steps."""


def read_grids(config: Mapping[str, Any]) -> Grids:
    """Return the grids that a scheduler's configuration holds.

    Raises:
        ConfigurationError: they are no falling timesteps of training, or of another number.
    """
    document = config.get(KEY, {})
    last = int(config.get("num_train_timesteps", TRAINED_TIMESTEPS)) - 1
    if not isinstance(document, dict):
        raise _broken("is no object")
    grids = [_checked(steps, grid, last) for steps, grid in document.items()]
    return {len(grid): grid for grid in grids}


def grid_of(config: Mapping[str, Any], steps: int) -> tuple[int, ...]:
    """Return the grid of so many steps.

    Raises:
        ConfigurationError: the grids are broken.
        ValueError: there is none of so many steps.
    """
    grids = read_grids(config)
    if steps not in grids:
        raise ValueError(no_grid(steps, grids))
    return grids[steps]


def no_grid(steps: int, grids: Grids) -> str:
    """Say that none was searched of so many steps, and of how many there are."""
    known = ", ".join(str(count) for count in sorted(grids))
    there_are = f"there are grids of {known}" if known else "it has no searched grid"
    return f"no grid of {steps} steps was searched for this model; {there_are}"


def _checked(steps: str, grid: Any, last: int) -> tuple[int, ...]:
    if not steps.isdecimal() or not isinstance(grid, list) or len(grid) != int(steps):
        raise _broken(f"{steps}: no list of as many timesteps")
    if not all(isinstance(timestep, int) and 0 <= timestep <= last for timestep in grid):
        raise _broken(f"{steps}: timesteps are whole numbers from 0 to {last}")
    if any(later >= earlier for earlier, later in pairwise(grid)):
        raise _broken(f"{steps}: timesteps have to fall")
    return tuple(grid)


def _broken(reason: str) -> ConfigurationError:
    return ConfigurationError(f"scheduler_config.json: {KEY}: {reason}")
