"""Schedulers by name, from a checkpoint's own configuration, with their timesteps set."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol

import diffusers
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from shared.domain.sampling import SchedulerName, Squeeze
from shared.errors import ConfigurationError
from shared.models import grids
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

CLASSES: Mapping[SchedulerName, Any] = {
    SchedulerName.DPM_SOLVER: DPMSolverMultistepScheduler,
    SchedulerName.DDIM: DDIMScheduler,
    SchedulerName.EULER: EulerDiscreteScheduler,
    SchedulerName.UNIPC: UniPCMultistepScheduler,
    SchedulerName.SEARCHED: DPMSolverMultistepScheduler,
}
PREDICTIONS = ("epsilon", "v_prediction", "sample")
OTHER_GRIDS = (
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "use_flow_sigmas",
)
"""Settings under which a grid is one of sigmas, which cannot be cut by timesteps."""


class Solver(Protocol):
    """Goes from noise to clean latents, once."""

    timesteps: Tensor
    """(N,), falling; whole numbers, but for Euler."""
    alphas_cumprod: Tensor
    """ᾱ at every timestep of training, (T,), float32."""

    @property
    def init_noise_sigma(self) -> float | Tensor:
        """What standard normal noise is multiplied with to start from."""
        ...

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """Bring latents to the scale that the denoiser was trained at."""
        ...

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, *, return_dict: bool
    ) -> Any:
        """Go from one timestep to the next; the first of what it returns is the latents."""
        ...


class Scheduler(Solver, Protocol):
    """What is used of diffusers' schedulers."""

    config: Any

    def set_timesteps(self, num_inference_steps: int | None = None, **settings: Any) -> None:
        """Choose the grid."""
        ...

    def save_pretrained(self, save_directory: Any) -> None:
        """Write ``scheduler_config.json``."""
        ...


def noise_level(solver: Solver, timestep: float) -> float:
    """Return sqrt((1 - ᾱ) / ᾱ) at a timestep, between those of training on the line."""
    below = min(max(int(timestep), 0), len(solver.alphas_cumprod) - 2)
    ends = solver.alphas_cumprod[below : below + 2].double()
    low, high = ((1 - ends) / ends).sqrt().tolist()
    return float(low + (timestep - below) * (high - low))


def build_scheduler(
    config: Mapping[str, Any] | None = None, name: SchedulerName = SchedulerName.DPM_SOLVER
) -> Scheduler:
    """Make the scheduler that a job names, for the checkpoint that it names.

    The configuration means what it means to diffusers when one class is made from the
    configuration of another. Where diffusers does not know its class, or it names none, the
    published defaults fill its gaps. See infra/decisions/0007.

    Args:
        config: a checkpoint's ``scheduler_config.json``.
        name: which solver.

    Returns:
        One that others may hold too: ``with_timesteps`` leaves it as it is.

    Raises:
        ConfigurationError: the configuration is wrong.
    """
    return _built(json.dumps(dict(config or {}), sort_keys=True), name)


def with_timesteps(
    scheduler: Scheduler,
    steps: int,
    squeeze: Squeeze | None = None,
    grid: Sequence[int] | None = None,
) -> Scheduler:
    """Return a fresh scheduler set to a grid of ``steps``, squeezed if asked.

    Args:
        scheduler: is left as it is.
        steps: of the grid.
        squeeze: shortens it.
        grid: is taken in place of the scheduler's own: as many falling timesteps of training.

    Raises:
        ValueError: the grid has no room for the steps, or the squeeze does not fit it.
    """
    fresh = copy.copy(scheduler)
    for attribute, value in vars(fresh).items():
        if isinstance(value, list):  # the multistep solvers write into theirs
            setattr(fresh, attribute, list(value))
    if grid is None:
        fresh.set_timesteps(steps)
    else:
        _refuse_sigmas(fresh, "a searched grid")
        fresh.set_timesteps(timesteps=list(grid))
    _check_grid(fresh, steps)
    if squeeze is not None:
        _squeeze(fresh, squeeze)
    if hasattr(fresh, "set_begin_index"):  # else the first step looks its place up
        fresh.set_begin_index(0)
    return fresh


def noise_levels(scheduler: Scheduler) -> list[float]:
    """Return sigma = sqrt((1-ᾱ)/ᾱ) at the timesteps, and the one where the last step ends."""
    sigmas: Tensor | None = getattr(scheduler, "sigmas", None)
    if sigmas is None:  # DDIM
        end: Tensor = vars(scheduler)["final_alpha_cumprod"]
        cumulative = torch.cat([scheduler.alphas_cumprod[scheduler.timesteps], end.reshape(1)])
        sigmas = ((1 - cumulative) / cumulative).sqrt()
    return [float(sigma) for sigma in sigmas]


@lru_cache(maxsize=32)
def _built(config_json: str, name: SchedulerName) -> Scheduler:
    config = _known_to_diffusers(json.loads(config_json))
    try:
        scheduler: Scheduler = CLASSES[name].from_config(config, **_forced(config, name))
    except (TypeError, ValueError, NotImplementedError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ConfigurationError(f"scheduler_config.json: {reason}") from None
    prediction = scheduler.config.prediction_type
    if prediction not in PREDICTIONS:
        known = ", ".join(PREDICTIONS)
        raise ConfigurationError(
            f"scheduler_config.json: prediction_type: {prediction!r} is none of {known}"
        )
    return scheduler


def _known_to_diffusers(config: Mapping[str, Any]) -> dict[str, Any]:
    config = {key: value for key, value in config.items() if key != grids.KEY}
    if _own_class(config) is not None:
        return config
    named = {key: value for key, value in config.items() if not key.startswith("_")}
    return {**PUBLISHED_DEFAULTS, **named, "_class_name": DPMSolverMultistepScheduler.__name__}


def _own_class(config: Mapping[str, Any]) -> Any:
    """Return the class that the checkpoint was published with, if it is diffusers' own."""
    name = config.get("_class_name")
    if not isinstance(name, str) or not name.endswith("Scheduler"):
        return None
    return getattr(diffusers, name, None)


def _forced(config: Mapping[str, Any], name: SchedulerName) -> dict[str, Any]:
    """Return what the job's choice of a solver settles, whatever the checkpoint says."""
    own = _own_class(config)
    if name in {SchedulerName.DPM_SOLVER, SchedulerName.SEARCHED}:
        if own is not DPMSolverMultistepScheduler:
            return {"algorithm_type": "dpmsolver++", "solver_order": 2}
        # The stochastic ones draw noise that is not the job's own.
        algorithm = str(config.get("algorithm_type", "dpmsolver++"))
        return {"algorithm_type": algorithm.removeprefix("sde-")}
    if name is SchedulerName.DDIM and "clip_sample" not in config:
        # DDIM clips by default, as is right for pixels. A class that cannot clip never did.
        clips = "clip_sample" in inspect.signature(own).parameters
        return {} if clips else {"clip_sample": False}
    return {}


def _check_grid(scheduler: Scheduler, steps: int) -> None:
    """Refuse a grid that runs past the training's last timestep, or takes one step twice."""
    last = int(scheduler.config.num_train_timesteps) - 1
    fits = float(scheduler.timesteps.max()) <= last
    if not fits or any(b >= a for a, b in pairwise(noise_levels(scheduler)[:-1])):
        raise ValueError(f"{steps} steps are more than this scheduler's grid has room for")


def _squeeze(scheduler: Scheduler, squeeze: Squeeze) -> None:
    if not isinstance(scheduler, DPMSolverMultistepScheduler):
        raise ValueError("a squeeze is for dpmsolver++ alone")  # noqa: TRY004 - a user's choice
    _refuse_sigmas(scheduler, "a squeeze")
    grid = [int(timestep) for timestep in scheduler.timesteps]
    scheduler.set_timesteps(timesteps=squeeze_timesteps(grid, squeeze))


def _refuse_sigmas(scheduler: Scheduler, who: str) -> None:
    for setting in OTHER_GRIDS:
        if scheduler.config.get(setting):
            raise ValueError(f"{who} needs a grid of timesteps; this model sets {setting}")
