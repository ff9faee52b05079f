"""Every scheduler branch against its paper's own formulas, for a denoiser in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.domain.sampling import SchedulerName, Squeeze
from support.families import SCHEDULERS, Family
from support.grids import FOUR, SOLVERS
from support.papers import Array, Gaussian, Levels, betas, ddim, dpm_solver_pp, euler, uni_pc
from worker.diffusion.noise import initial_noise
from worker.diffusion.sampler import denoise
from worker.diffusion.schedule import (
    PUBLISHED_DEFAULTS,
    Scheduler,
    build_scheduler,
    noise_levels,
    with_timesteps,
)

DATA = Gaussian(mean=0.7, deviation=0.5)
TOLERANCE = 2e-6
STABLE = SCHEDULERS["sd-1.5"]
PREDICTIONS = ("epsilon", "v_prediction", "sample")
DPM: dict[str, Any] = {**PUBLISHED_DEFAULTS, "_class_name": "DPMSolverMultistepScheduler"}
NOISE = torch.stack([initial_noise(seed, (4, 8, 8)) for seed in (0, 1)]).double()


def drawn(scheduler: Scheduler, data: Gaussian = DATA) -> Array:
    """Draw with the loop, the network being the data's exact posterior."""
    table = ratio_table(scheduler)
    prediction = scheduler.config.prediction_type

    def network(sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        [place] = set(timestep.tolist())
        ratio = np.interp(place, np.arange(len(table)), table)
        alpha = 1 / np.sqrt(1 + ratio**2)
        x, sigma = sample.double().numpy(), alpha * ratio
        clean = data.clean(x, alpha, sigma)
        noise = (x - alpha * clean) / sigma
        outputs = {
            "epsilon": noise,
            "sample": clean,
            "v_prediction": alpha * noise - sigma * clean,
        }
        return torch.from_numpy(outputs[prediction])

    context = torch.zeros(4, 3, 5)
    latents = denoise(
        network,
        scheduler,
        NOISE,
        context,
        guidance_scale=torch.ones(2),
        guidance_rescale=torch.zeros(2),
    )
    return latents.numpy()


def ratio_table(scheduler: Scheduler) -> Array:
    cumulative = scheduler.alphas_cumprod.double().numpy()
    return np.asarray(np.sqrt((1 - cumulative) / cumulative))


def levels_of(scheduler: Scheduler, end: float) -> Levels:
    """Noise levels at a scheduler's timesteps, and the given sigma / alpha at the end."""
    table = ratio_table(scheduler)
    ratios = np.interp(scheduler.timesteps.numpy(), np.arange(len(table)), table)
    return Levels.of_ratios(np.append(ratios, end))


def smallest(scheduler: Scheduler) -> float:
    return float(ratio_table(scheduler)[0])


def assert_same(found: Array, expected: Array) -> None:
    assert float(np.abs(found - expected).max()) < TOLERANCE * max(1, np.abs(expected).max())


def solver(config: dict[str, Any], steps: int, squeeze: Squeeze | None = None) -> Scheduler:
    return with_timesteps(build_scheduler(config), steps, squeeze)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", SOLVERS)
def test_what_the_network_predicts_makes_no_difference(
    name: SchedulerName, prediction: str
) -> None:
    config = STABLE | {"prediction_type": prediction}
    scheduler, plain = (
        with_timesteps(build_scheduler(settings, name), 10)
        for settings in (config, STABLE | {"prediction_type": "sample"})
    )

    assert scheduler.config.prediction_type == prediction
    assert_same(drawn(scheduler), drawn(plain))


@pytest.mark.parametrize("solver_type", ["midpoint", "heun"])
@pytest.mark.parametrize("final", ["zero", "sigma_min"])
@pytest.mark.parametrize("lower_order_final", [True, False])
@pytest.mark.parametrize("steps", [10, 20])
def test_dpm_solver_of_second_order(
    steps: int, final: str, solver_type: str, *, lower_order_final: bool
) -> None:
    scheduler = solver(
        DPM
        | {
            "solver_type": solver_type,
            "final_sigmas_type": final,
            "lower_order_final": lower_order_final,
        },
        steps,
    )
    end = 0.0 if final == "zero" else smallest(scheduler)

    expected = dpm_solver_pp(
        DATA,
        NOISE.numpy(),
        levels_of(scheduler, end),
        solver_type=solver_type,
        lower_order_final=lower_order_final,
    )

    assert_same(drawn(scheduler), expected)


@pytest.mark.parametrize("final", ["zero", "sigma_min"])
def test_dpm_solver_of_first_order_which_is_ddim(final: str) -> None:
    scheduler = solver(DPM | {"solver_order": 1, "final_sigmas_type": final}, 10)
    levels = levels_of(scheduler, 0.0 if final == "zero" else smallest(scheduler))

    found = drawn(scheduler)

    assert_same(found, dpm_solver_pp(DATA, NOISE.numpy(), levels, order=1))
    assert_same(found, ddim(DATA, NOISE.numpy(), levels))


@pytest.mark.parametrize("squeeze", [Squeeze(10, 6), Squeeze(11, 7), Squeeze(5, 2)], ids=str)
@pytest.mark.parametrize("config", [DPM, STABLE], ids=["published", "sd-1.5"])
def test_squeezed_dpm_solver(config: dict[str, Any], squeeze: Squeeze) -> None:
    scheduler = solver(config, 16, squeeze)
    is_stable = config is STABLE
    expected = dpm_solver_pp(
        DATA,
        NOISE.numpy(),
        levels_of(scheduler, 0.0 if is_stable else smallest(scheduler)),
        solver_type="midpoint" if is_stable else "heun",
    )

    assert len(scheduler.timesteps) == squeeze.steps
    assert_same(drawn(scheduler), expected)


@pytest.mark.parametrize("config", [DPM, STABLE], ids=["published", "sd-1.5"])
def test_dpm_solver_along_a_searched_grid(config: dict[str, Any]) -> None:
    built = build_scheduler(config, SchedulerName.SEARCHED)
    scheduler = with_timesteps(built, len(FOUR), grid=FOUR)
    is_stable = config is STABLE
    expected = dpm_solver_pp(
        DATA,
        NOISE.numpy(),
        levels_of(scheduler, 0.0 if is_stable else smallest(scheduler)),
        solver_type="midpoint" if is_stable else "heun",
    )

    assert scheduler.timesteps.tolist() == list(FOUR)
    assert_same(drawn(scheduler), expected)


@pytest.mark.parametrize("steps", [10, 20])
@pytest.mark.parametrize("ends_clean", [True, False])
def test_ddim(steps: int, *, ends_clean: bool) -> None:
    config = STABLE | {"set_alpha_to_one": ends_clean}
    scheduler = with_timesteps(build_scheduler(config, SchedulerName.DDIM), steps)
    levels = levels_of(scheduler, 0.0 if ends_clean else smallest(scheduler))

    assert_same(drawn(scheduler), ddim(DATA, NOISE.numpy(), levels))


@pytest.mark.parametrize("steps", [10, 20])
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize("final", ["zero", "sigma_min"])
def test_euler(final: str, spacing: str, steps: int) -> None:
    config = STABLE | {"timestep_spacing": spacing, "final_sigmas_type": final}
    scheduler = with_timesteps(build_scheduler(config, SchedulerName.EULER), steps)
    levels = levels_of(scheduler, 0.0 if final == "zero" else smallest(scheduler))
    first = float(levels.ratio[0])
    start = float(np.hypot(first, 1)) if spacing == "leading" else first

    assert_same(drawn(scheduler), euler(DATA, NOISE.numpy(), levels, start=start))


@pytest.mark.parametrize("steps", [3, 10, 20])
@pytest.mark.parametrize("config", [STABLE, DPM], ids=["sd-1.5", "published"])
def test_uni_pc(config: dict[str, Any], steps: int) -> None:
    scheduler = with_timesteps(build_scheduler(config, SchedulerName.UNIPC), steps)
    levels = levels_of(scheduler, 0.0 if config is STABLE else smallest(scheduler))

    assert_same(drawn(scheduler), uni_pc(DATA, NOISE.numpy(), levels))


@pytest.mark.parametrize("name", SOLVERS)
def test_more_steps_come_closer_to_the_exact_flow(name: SchedulerName) -> None:
    errors = []
    for steps in (5, 10, 20, 40):
        scheduler = with_timesteps(build_scheduler(STABLE, name), steps)
        alpha, sigma = levels_of(scheduler, 0).alpha[0], levels_of(scheduler, 0).sigma[0]
        # The noise stands for latents at the first level: a Gaussian keeps its quantiles.
        width = np.hypot(alpha * DATA.deviation, sigma)
        quantile = (start_of(scheduler) - alpha * DATA.mean) / width
        exact = DATA.mean + DATA.deviation * quantile
        errors.append(float(np.sqrt(np.mean((drawn(scheduler) - exact) ** 2))))

    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.04


def start_of(scheduler: Scheduler) -> Array:
    """Return the latents that the loop starts from, in units of x = alpha y."""
    latents = NOISE * scheduler.init_noise_sigma
    return np.asarray(scheduler.scale_model_input(latents, scheduler.timesteps[0]).numpy())


@pytest.mark.parametrize("family", SCHEDULERS)
@pytest.mark.parametrize("name", SOLVERS)
def test_noise_levels_come_from_the_checkpoints_betas(family: Family, name: SchedulerName) -> None:
    config = {"beta_schedule": "squaredcos_cap_v2"} | SCHEDULERS[family]
    cumulative = np.cumprod(1 - betas(config))
    table = np.sqrt((1 - cumulative) / cumulative)
    scheduler = with_timesteps(build_scheduler(SCHEDULERS[family], name), 10)

    expected = np.interp(scheduler.timesteps.numpy(), np.arange(1000), table)

    # ᾱ is kept in float32, whose last digit is 1 % of it where next to nothing is left.
    assert noise_levels(scheduler)[:-1] == pytest.approx(expected.tolist(), rel=2e-2)
    assert noise_levels(scheduler)[1:-1] == pytest.approx(expected[1:].tolist(), rel=1e-3)


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize("steps", [10, 16, 25])
def test_clipping_lambda_starts_the_grid_where_it_says(steps: int, spacing: str) -> None:
    scheduler = solver(DPM | {"timestep_spacing": spacing}, steps)
    with np.errstate(divide="ignore"):
        half_log_snr = -np.log(ratio_table(scheduler))
    last = int(np.sum(half_log_snr >= -7.5)) - 1

    first = int(scheduler.timesteps[0])

    assert first <= last
    if spacing != "leading":
        assert first == last
    assert int(solver(DPM | {"lambda_min_clipped": -1.0}, steps).timesteps[0]) < last
