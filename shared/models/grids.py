"""Grids of timesteps that were searched for a model, kept in its ``scheduler_config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from shared.errors import ConfigurationError

KEY = "searched_timesteps"
"""Of an object: by the number of steps, as many timesteps, falling."""
TRAINED_TIMESTEPS = 1000
"""Where a configuration does not say how many: as diffusers has it."""

Grids = Mapping[int, tuple[int, ...]]
"""By the number of steps, fewest first."""


def read_grids(config: Mapping[str, Any]) -> Grids:
    """Return the grids that a scheduler's configuration holds.

    Raises:
        ConfigurationError: they are no falling timesteps of training, or of another number.
    """
    document = config.get(KEY, {})
    trained = config.get("num_train_timesteps", TRAINED_TIMESTEPS)
    if not isinstance(document, dict):
        raise _broken("is no object")
    if document and not _is_whole(trained):
        raise ConfigurationError("scheduler_config.json: num_train_timesteps: no whole number")
    grids = [_checked(steps, grid, trained - 1) for steps, grid in document.items()]
    return {len(grid): grid for grid in sorted(grids, key=len)}


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
    known = ", ".join(map(str, grids))
    there_are = f"there are grids of {known}" if known else "it has no searched grid"
    return f"no grid of {steps} steps was searched for this model; {there_are}"


def _checked(steps: str, grid: Any, last: int) -> tuple[int, ...]:
    if not isinstance(grid, list) or not grid or str(len(grid)) != steps:
        raise _broken(f"{steps}: no list of as many timesteps")
    if not all(_is_whole(timestep) and 0 <= timestep <= last for timestep in grid):
        raise _broken(f"{steps}: timesteps are whole numbers from 0 to {last}")
    if any(later >= earlier for earlier, later in pairwise(grid)):
        raise _broken(f"{steps}: timesteps have to fall")
    return tuple(grid)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _broken(reason: str) -> ConfigurationError:
    return ConfigurationError(f"scheduler_config.json: {KEY}: {reason}")
