"""What takes the steps of a batch: the scheduler's own solver, worked out once for all batches.

A multistep DPM-Solver's step is a sum of tensors whose factors depend on the grid alone. They are
read off diffusers' own solver by giving it unit vectors; a batch then takes its steps by five
operations instead of dozens, most of which are on single numbers.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from shared.domain.sampling import SchedulerName, Squeeze
from shared.models.grids import grid_of
from worker.diffusion.schedule import Scheduler, Solver, build_scheduler, with_timesteps


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a multistep solver, which is linear in all that it is given."""

    converted: tuple[float, float]
    """Factors of the latents and of the model's output in what the solver makes of that output:
    clean latents for DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095, section 4)."""
    latents: tuple[float, float]
    """Factors of the latents and of the model's output in the next latents."""
    history: tuple[float, ...]
    """Factors in the next latents of what was made of the outputs before, the latest first."""


class Multistep:
    """A multistep DPM-Solver whose steps were worked out beforehand; for one batch."""

    def __init__(self, scheduler: Scheduler, steps: Sequence[Step]) -> None:
        """Stand before the first step.

        Args:
            scheduler: set to the grid; it is left as it is.
            steps: one a timestep.
        """
        self.timesteps = scheduler.timesteps
        self.init_noise_sigma = scheduler.init_noise_sigma
        self.alphas_cumprod = scheduler.alphas_cumprod
        self._steps = iter(steps)
        self._converted: deque[Tensor] = deque(maxlen=max(len(step.history) for step in steps))

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """Leave latents as they are."""
        return sample

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor,
        sample: Tensor,
        *,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        """Take the next step.

        Args:
            model_output: (B, C, H, W), in the precision of the latents.
            timestep: the next one.
            sample: latents, (B, C, H, W); they are left as they are.
            return_dict: no matter; a tuple is what comes back.
        """
        step = next(self._steps)
        latents = _sum(sample, model_output, step.latents)
        for factor, converted in zip(step.history, self._converted, strict=False):
            if factor:
                latents.add_(converted, alpha=factor)
        if self._converted.maxlen:
            self._converted.appendleft(_sum(sample, model_output, step.converted))
        return (latents,)


def _sum(sample: Tensor, model_output: Tensor, factors: tuple[float, float]) -> Tensor:
    return torch.mul(sample, factors[0]).add_(model_output, alpha=factors[1])


@dataclass(frozen=True, slots=True)
class Course:
    """A grid, and how a solver goes along it; the same for all batches that take it."""

    scheduler: Scheduler
    """Set to the grid; never used up."""
    timesteps: list[float]
    """Whole numbers where they are."""
    steps: Sequence[Step] | None
    """None where the solver is more than a sum: diffusers' own takes those."""
    remake: tuple[int, Squeeze | None, tuple[int, ...] | None]

    def solver(self) -> Solver:
        """Return a solver for one batch."""
        if self.steps is None:
            return with_timesteps(self.scheduler, *self.remake)
        return Multistep(self.scheduler, self.steps)


def plot_course(
    config: Mapping[str, Any], name: SchedulerName, steps: int, squeeze: str | None
) -> Course:
    """Work out how a checkpoint's images get from noise to clean latents.

    Args:
        config: its ``scheduler_config.json``.
        name: which solver.
        steps: of the grid, before it is squeezed.
        squeeze: as jobs write it.

    Raises:
        ConfigurationError: the configuration is wrong.
        ValueError: the grid has no room for the steps, the squeeze does not fit it, or no grid of
            so many steps was searched for the model.
    """
    grid = grid_of(config, steps) if name is SchedulerName.SEARCHED else None
    return _plotted(_key(config), name, steps, squeeze, grid)


def plot_grid(config: Mapping[str, Any], grid: Sequence[int]) -> Course:
    """Work out how DPM-Solver++ goes along any timesteps.

    Args:
        config: a checkpoint's ``scheduler_config.json``.
        grid: falling timesteps of training.

    Raises:
        ConfigurationError: the configuration is wrong.
        ValueError: the checkpoint's grids are not of timesteps.
    """
    return _plotted(_key(config), SchedulerName.SEARCHED, len(grid), None, tuple(grid))


def _key(config: Mapping[str, Any]) -> str:
    return json.dumps(dict(config), sort_keys=True)


@lru_cache(maxsize=256)
def _plotted(
    config_json: str,
    name: SchedulerName,
    steps: int,
    squeeze: str | None,
    grid: tuple[int, ...] | None,
) -> Course:
    remake = steps, Squeeze.parse(squeeze) if squeeze else None, grid
    scheduler = with_timesteps(build_scheduler(json.loads(config_json), name), *remake)
    return Course(
        scheduler,
        [_plain(timestep) for timestep in scheduler.timesteps],
        linear_steps(with_timesteps(scheduler, *remake)) if _is_linear(scheduler) else None,
        remake,
    )


def _is_linear(scheduler: Scheduler) -> bool:
    """Tell whether a solver's steps are sums whose factors depend on the grid alone."""
    config = scheduler.config
    return (
        isinstance(scheduler, DPMSolverMultistepScheduler)
        and not config.thresholding
        and config.variance_type not in ("learned", "learned_range")
        and not config.algorithm_type.startswith("sde-")
    )


def linear_steps(scheduler: Any) -> Sequence[Step]:
    """Read off a solver what each of its steps multiplies what it is given with.

    Args:
        scheduler: diffusers' multistep DPM-Solver, fresh, with its timesteps set; used up by the
            call.
    """
    order = scheduler.config.solver_order
    sample, model_output, *before = torch.eye(order + 1, dtype=torch.float64)
    steps = []
    for timestep in scheduler.timesteps:
        # It moves them down by one, and what falls out is forgotten.
        scheduler.model_outputs = [None, *reversed(before)]
        moved = scheduler.step(model_output, timestep, sample, return_dict=False)[0].tolist()
        converted = scheduler.model_outputs[-1].tolist()
        steps.append(Step((converted[0], converted[1]), (moved[0], moved[1]), tuple(moved[2:])))
    return steps


def _plain(timestep: Tensor) -> float:
    """Return a timestep as a whole number where it is one."""
    value = float(timestep)
    return int(value) if value.is_integer() else value
