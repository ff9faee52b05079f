"""A solver whose steps were worked out beforehand goes where diffusers' own goes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from shared.domain.sampling import SchedulerName, Squeeze
from shared.models.grids import KEY
from support.grids import FOUR, THREE
from worker.diffusion.schedule import build_scheduler, with_timesteps
from worker.diffusion.solvers import Multistep, plot_course, plot_grid

SHAPE = (2, 4, 8, 8)
WAYS = ((16, "10,6"), (10, None), (25, None), (4, None), (2, None))


def denoiser(sample: Tensor, timestep: Tensor) -> Tensor:
    """Predict something that depends on both and is linear in neither."""
    return torch.tanh(sample * 1.3 + float(timestep) / 700) - 0.2 * sample


def walk(solver: Any, noise: Tensor) -> list[Tensor]:
    """Return the latents after each step."""
    latents, seen = noise * solver.init_noise_sigma, []
    for timestep in solver.timesteps:
        prediction = denoiser(solver.scale_model_input(latents, timestep), timestep)
        latents = solver.step(prediction, timestep, latents, return_dict=False)[0]
        seen.append(latents)
    return seen


@pytest.mark.parametrize(("steps", "squeeze"), WAYS)
@pytest.mark.parametrize("final", ["zero", "sigma_min"])
@pytest.mark.parametrize("solver_type", ["heun", "midpoint"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_each_step_ends_where_diffusers_step_ends(
    steps: int, squeeze: str | None, final: str, solver_type: str, order: int, prediction: str
) -> None:
    config = {
        "_class_name": DPMSolverMultistepScheduler.__name__,
        "prediction_type": prediction,
        "solver_order": order,
        "solver_type": solver_type,
        "final_sigmas_type": final,
    }
    noise = torch.randn(SHAPE, generator=torch.manual_seed(order), dtype=torch.float64)
    theirs = with_timesteps(
        build_scheduler(config), steps, Squeeze.parse(squeeze) if squeeze else None
    )
    ours = plot_course(config, SchedulerName.DPM_SOLVER, steps, squeeze).solver()

    assert isinstance(ours, Multistep)
    for mine, its in zip(walk(ours, noise), walk(theirs, noise), strict=True):
        # Diffusers takes its factors, and the latents that go into a step, in single precision.
        torch.testing.assert_close(mine, its, rtol=2e-5, atol=2e-5)


def test_a_searched_course_goes_where_diffusers_goes_along_its_timesteps() -> None:
    config = {"solver_order": 2, KEY: {"3": list(THREE), "4": list(FOUR)}}
    noise = torch.randn(SHAPE, generator=torch.manual_seed(3), dtype=torch.float64)
    theirs = with_timesteps(build_scheduler({"solver_order": 2}), len(FOUR), grid=FOUR)

    course = plot_course(config, SchedulerName.SEARCHED, 4, None)

    assert course.timesteps == list(FOUR)
    assert isinstance(course.solver(), Multistep)
    for mine, its in zip(walk(course.solver(), noise), walk(theirs, noise), strict=True):
        torch.testing.assert_close(mine, its, rtol=2e-5, atol=2e-5)
    along = plot_grid({"solver_order": 2}, FOUR).solver()
    assert all(map(torch.equal, walk(along, noise), walk(course.solver(), noise)))


def test_of_a_grid_that_was_searched_again_another_course_is_plotted() -> None:
    first, second = (
        plot_course({KEY: {str(len(grid)): list(grid)}}, SchedulerName.SEARCHED, 4, None)
        for grid in (FOUR, (970, 600, 310, 70))
    )

    assert first.timesteps == list(FOUR)
    assert second.timesteps == [970, 600, 310, 70]


def test_a_course_is_plotted_once_and_never_used_up() -> None:
    course = plot_course({}, SchedulerName.DPM_SOLVER, 16, "10,6")
    noise = torch.randn(SHAPE, generator=torch.manual_seed(1))

    first, second = (walk(course.solver(), noise) for _ in range(2))

    assert plot_course({}, SchedulerName.DPM_SOLVER, 16, "10,6") is course
    assert len(course.timesteps) == len(first) == 10
    assert all(map(torch.equal, first, second))


def test_batches_may_take_their_steps_side_by_side() -> None:
    course = plot_course({}, SchedulerName.DPM_SOLVER, 16, "10,6")
    noises = [torch.randn(SHAPE, generator=torch.manual_seed(seed)) for seed in (1, 2)]
    alone = [walk(course.solver(), noise)[-1] for noise in noises]

    solvers, latents = [course.solver(), course.solver()], list(noises)
    for timestep in solvers[0].timesteps:
        for which, solver in enumerate(solvers):
            prediction = denoiser(latents[which], timestep)
            latents[which] = solver.step(prediction, timestep, latents[which], return_dict=False)[0]

    assert all(map(torch.equal, latents, alone))


@pytest.mark.parametrize("name", [SchedulerName.DDIM, SchedulerName.EULER, SchedulerName.UNIPC])
def test_other_solvers_are_diffusers_own(name: SchedulerName) -> None:
    course = plot_course({}, name, 10, None)
    noise = torch.randn(SHAPE, generator=torch.manual_seed(1))

    expected = walk(with_timesteps(build_scheduler({}, name), 10), noise)[-1]
    assert course.steps is None
    for _ in range(2):
        assert torch.equal(walk(course.solver(), noise)[-1], expected)


def test_a_solver_that_clips_is_diffusers_own() -> None:
    config = {"_class_name": DPMSolverMultistepScheduler.__name__, "thresholding": True}

    assert plot_course(config, SchedulerName.DPM_SOLVER, 10, None).steps is None
