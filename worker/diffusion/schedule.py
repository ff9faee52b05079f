"""Schedulers with their timesteps set, from a checkpoint's own configuration."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

from shared.domain.sampling import SchedulerName, Squeeze
from worker.diffusion.squeeze import squeeze_timesteps

PUBLISHED_DEFAULTS: Mapping[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "algorithm_type": "dpmsolver++",
    "solver_order": 2,
    "solver_type": "heun",
    "lower_order_final": True,
    "lambda_min_clipped": -7.5,
    "timestep_spacing": "linspace",
    "steps_offset": 1,
    "final_sigmas_type": "sigma_min",
}
"""DeciDiffusion 2.0's scheduler; a checkpoint's ``scheduler_config.json`` wins over these."""


Scheduler = DPMSolverMultistepScheduler


def build_scheduler(
    config: Mapping[str, Any] | None = None, name: SchedulerName = SchedulerName.DPM_SOLVER
) -> Scheduler:
    """Make DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095), multistep.

    Args:
        config: a checkpoint's ``scheduler_config.json``, over the published defaults.
        name: which solver.
    """
    settings = {
        key: value
        for key, value in {**PUBLISHED_DEFAULTS, **(config or {})}.items()
        if not key.startswith("_")
    }
    scheduler: DPMSolverMultistepScheduler = DPMSolverMultistepScheduler(**settings)
    return scheduler


def with_timesteps(
    scheduler: DPMSolverMultistepScheduler, steps: int, squeeze: Squeeze | None = None
) -> DPMSolverMultistepScheduler:
    """Return a fresh scheduler set to a grid of ``steps``, squeezed if asked.

    Sigmas are sqrt((1-ᾱ)/ᾱ) at the timesteps, and that of t = 0 at the end.

    Raises:
        ValueError: the squeeze does not fit the grid.
    """
    fresh = copy.copy(scheduler)
    fresh.set_timesteps(steps)
    if squeeze is not None:
        grid = [int(timestep) for timestep in fresh.timesteps]
        fresh.set_timesteps(timesteps=squeeze_timesteps(grid, squeeze))
    fresh.set_begin_index(0)
    return fresh
