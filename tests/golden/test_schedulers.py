"""What a checkpoint's configuration means to each scheduler, and the grids that come of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from shared.domain.sampling import SchedulerName, Squeeze
from shared.errors import ConfigurationError
from shared.models.card import read_json
from shared.models.catalog import load_card
from support.families import SCHEDULERS, Family
from support.grids import FOUR, SOLVERS
from worker.diffusion.sampler import denoise
from worker.diffusion.schedule import (
    PUBLISHED_DEFAULTS,
    Scheduler,
    build_scheduler,
    noise_levels,
    with_timesteps,
)
from worker.models.rows import spread

DIFFUSERS_OWN: dict[SchedulerName, Any] = {
    SchedulerName.DPM_SOLVER: DPMSolverMultistepScheduler,
    SchedulerName.DDIM: DDIMScheduler,
    SchedulerName.EULER: EulerDiscreteScheduler,
    SchedulerName.UNIPC: UniPCMultistepScheduler,
    SchedulerName.SEARCHED: DPMSolverMultistepScheduler,
}
OTHERS = [name for name in SOLVERS if name is not SchedulerName.DPM_SOLVER]
DPM_FAMILY = SCHEDULERS["decidiffusion-1.0"]
EMOJI = read_json(load_card("emoji-64").folder / "scheduler" / "scheduler_config.json")


def settings_of(scheduler: Any) -> dict[str, Any]:
    return {key: value for key, value in scheduler.config.items() if not key.startswith("_")}


def timesteps(scheduler: Scheduler) -> list[float]:
    return [float(timestep) for timestep in scheduler.timesteps]


@pytest.mark.parametrize("family", ["sd-1.5", "sd-2.1", "decidiffusion-1.0"])
@pytest.mark.parametrize("name", SchedulerName)
def test_a_configuration_means_what_it_means_to_diffusers(
    family: Family, name: SchedulerName
) -> None:
    config = SCHEDULERS[family]
    expected = DIFFUSERS_OWN[name].from_config(config)

    scheduler = build_scheduler(config, name)

    assert type(scheduler) is DIFFUSERS_OWN[name]
    never_clipped = {"clip_sample": False} if name is SchedulerName.DDIM else {}
    assert settings_of(scheduler) == settings_of(expected) | never_clipped
    assert torch.equal(scheduler.alphas_cumprod, expected.alphas_cumprod)


@pytest.mark.parametrize("name", SchedulerName)
def test_stable_diffusions_noise_prediction_stays_one(name: SchedulerName) -> None:
    scheduler = build_scheduler(SCHEDULERS["sd-1.5"], name)

    assert scheduler.config.prediction_type == "epsilon"
    assert scheduler.config.beta_schedule == "scaled_linear"


@pytest.mark.parametrize("config", [{}, {"_class_name": "SqueezedDPMScheduler"}])
@pytest.mark.parametrize("name", SchedulerName)
def test_what_diffusers_does_not_know_is_filled_up_with_the_published_settings(
    name: SchedulerName, config: dict[str, Any]
) -> None:
    scheduler = build_scheduler(config | {"num_train_timesteps": 500, "of_its_own": 3}, name)

    assert scheduler.config.prediction_type == "v_prediction"
    assert scheduler.config.beta_schedule == "squaredcos_cap_v2"
    assert len(scheduler.alphas_cumprod) == 500
    if name in {SchedulerName.DPM_SOLVER, SchedulerName.SEARCHED}:
        published = {**PUBLISHED_DEFAULTS, "num_train_timesteps": 500}
        assert published.items() <= settings_of(scheduler).items()


def test_a_published_setting_never_replaces_what_diffusers_would_take() -> None:
    scheduler = build_scheduler({"_class_name": "DPMSolverMultistepScheduler"})

    assert settings_of(scheduler) == settings_of(DPMSolverMultistepScheduler())


def test_other_classes_settings_for_other_solvers_do_not_reach_dpm_solver() -> None:
    theirs = {"_class_name": "DEISMultistepScheduler", "algorithm_type": "deis", "solver_order": 3}

    scheduler = build_scheduler(theirs)

    assert scheduler.config.algorithm_type == "dpmsolver++"
    assert scheduler.config.solver_order == 2


def test_a_checkpoints_own_order_of_dpm_solver_is_kept() -> None:
    assert build_scheduler(DPM_FAMILY | {"solver_order": 3}).config.solver_order == 3


@pytest.mark.parametrize("algorithm", ["sde-dpmsolver++", "dpmsolver++"])
def test_no_solver_draws_noise_that_is_not_the_jobs(algorithm: str) -> None:
    scheduler = build_scheduler(DPM_FAMILY | {"algorithm_type": algorithm})

    assert scheduler.config.algorithm_type == "dpmsolver++"


def test_ddim_clips_latents_only_where_the_checkpoint_was_published_with_clipping() -> None:
    own = {"_class_name": "DDIMScheduler"}

    clips = [
        build_scheduler(config, SchedulerName.DDIM).config.clip_sample
        for config in (DPM_FAMILY, EMOJI, own, own | {"clip_sample": False}, {})
    ]

    assert clips == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction_type": "flow_prediction"}, "prediction_type: 'flow_prediction' is none of"),
        ({"beta_schedule": "cubic"}, "cubic is not implemented"),
        ({"num_train_timesteps": "many"}, "scheduler_config.json: "),
        ({"solver_type": "lucky"}, "lucky is not implemented"),
    ],
)
def test_a_wrong_configuration_is_told(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build_scheduler(DPM_FAMILY | change)


def test_the_grid_of_the_model_that_ships() -> None:
    scheduler = build_scheduler(EMOJI)

    assert timesteps(with_timesteps(scheduler, 16))[:6] == [998, 936, 873, 811, 748, 686]
    assert timesteps(with_timesteps(scheduler, 16, Squeeze(10, 6))) == [
        *(998, 936, 873, 811, 748, 686),
        *(548, 411, 274, 137),
    ]
    assert timesteps(with_timesteps(scheduler, 16, Squeeze(11, 7))) == [
        *(998, 936, 873, 811, 748, 686, 624),
        *(496, 372, 248, 124),
    ]


@pytest.mark.parametrize("family", ["sd-1.5", "sd-2.1", "decidiffusion-1.0"])
@pytest.mark.parametrize("name", SOLVERS)
def test_a_grid_is_diffusers_own(family: Family, name: SchedulerName) -> None:
    expected = DIFFUSERS_OWN[name].from_config(SCHEDULERS[family])
    expected.set_timesteps(10)

    scheduler = with_timesteps(build_scheduler(SCHEDULERS[family], name), 10)

    assert timesteps(scheduler) == [float(timestep) for timestep in expected.timesteps]
    assert len(noise_levels(scheduler)) == 11
    if name is not SchedulerName.DDIM:
        assert noise_levels(scheduler) == expected.sigmas.tolist()


@pytest.mark.parametrize("ends_clean", [True, False])
def test_ddims_noise_levels_are_those_of_its_timesteps_and_of_its_final_alpha(
    *, ends_clean: bool
) -> None:
    config = SCHEDULERS["sd-1.5"] | {"set_alpha_to_one": ends_clean}
    scheduler = with_timesteps(build_scheduler(config, SchedulerName.DDIM), 4)

    table = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt()
    expected = [float(table[int(timestep)]) for timestep in scheduler.timesteps]
    assert noise_levels(scheduler) == [*expected, 0.0 if ends_clean else float(table[0])]


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize(("steps", "squeeze"), [(16, "10,6"), (30, "12,9"), (8, "9,8"), (6, "4,1")])
def test_a_squeeze_fits_any_grid_of_timesteps(steps: int, squeeze: str, spacing: str) -> None:
    scheduler = build_scheduler(SCHEDULERS["sd-1.5"] | {"timestep_spacing": spacing})
    cut = Squeeze.parse(squeeze)

    whole, squeezed = with_timesteps(scheduler, steps), with_timesteps(scheduler, steps, cut)

    head, tail = timesteps(squeezed)[: cut.kept], timesteps(squeezed)[cut.kept :]
    spaces = head[-1] // (cut.steps - cut.kept + 1)
    assert head == timesteps(whole)[: cut.kept]
    assert tail == [spaces * place for place in range(cut.steps - cut.kept, 0, -1)]
    assert noise_levels(squeezed)[: cut.kept] == noise_levels(whole)[: cut.kept]
    assert noise_levels(squeezed)[-1] == noise_levels(whole)[-1]


@pytest.mark.parametrize("name", OTHERS)
def test_a_squeeze_is_for_dpm_solver_alone(name: SchedulerName) -> None:
    with pytest.raises(ValueError, match=r"a squeeze is for dpmsolver\+\+ alone"):
        with_timesteps(build_scheduler(EMOJI, name), 16, Squeeze(10, 6))


def test_a_squeeze_cuts_no_grid_of_sigmas() -> None:
    scheduler = build_scheduler(DPM_FAMILY | {"use_karras_sigmas": True})

    assert len(with_timesteps(scheduler, 16).timesteps) == 16
    with pytest.raises(ValueError, match="use_karras_sigmas"):
        with_timesteps(scheduler, 16, Squeeze(10, 6))


def test_searched_timesteps_take_the_place_of_the_grid_and_their_noise_levels_follow() -> None:
    scheduler = build_scheduler(EMOJI, SchedulerName.SEARCHED)

    searched = with_timesteps(scheduler, len(FOUR), grid=FOUR)

    levels = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt()
    assert timesteps(searched) == list(FOUR)
    assert noise_levels(searched)[:-1] == pytest.approx(levels[list(FOUR)].tolist(), rel=1e-3)
    assert noise_levels(searched)[-1] == noise_levels(with_timesteps(scheduler, 4))[-1]


def test_searched_timesteps_are_no_grid_of_sigmas() -> None:
    scheduler = build_scheduler(DPM_FAMILY | {"use_karras_sigmas": True})

    with pytest.raises(ValueError, match=r"a searched grid .* use_karras_sigmas"):
        with_timesteps(scheduler, len(FOUR), grid=FOUR)


@pytest.mark.parametrize(
    ("name", "steps"),
    [(SchedulerName.DPM_SOLVER, 1000), (SchedulerName.UNIPC, 1000), (SchedulerName.DDIM, 1000)],
)
def test_a_grid_that_would_take_a_step_twice_or_leave_the_training_is_refused(
    name: SchedulerName, steps: int
) -> None:
    with pytest.raises(ValueError, match="1000 steps are more than this scheduler's grid"):
        with_timesteps(build_scheduler(SCHEDULERS["sd-1.5"], name), steps)


@pytest.mark.parametrize("name", SOLVERS)
def test_drawing_leaves_the_scheduler_for_the_next_job_as_it_was(name: SchedulerName) -> None:
    shared = build_scheduler(SCHEDULERS["sd-1.5"], name)
    before = copy.deepcopy(vars(shared))

    first, second = (draw(with_timesteps(shared, 6)) for _ in range(2))

    assert torch.equal(first, second)
    assert build_scheduler(SCHEDULERS["sd-1.5"], name) is shared
    assert vars(shared).keys() == before.keys()
    for attribute, value in before.items():
        now = vars(shared)[attribute]
        assert torch.equal(now, value) if isinstance(value, Tensor) else now == value, attribute


@pytest.mark.parametrize("name", SOLVERS)
def test_half_precision_holds_the_latents_of_every_solver(name: SchedulerName) -> None:
    """Euler starts at 20,000 times the noise under cosine betas; a half goes to 65,504."""
    whole, half = (draw(with_timesteps(build_scheduler(EMOJI, name), 10), kind) for kind in KINDS)

    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), whole, rtol=0.02, atol=0.02)


KINDS = (torch.float32, torch.float16)


def draw(scheduler: Scheduler, dtype: torch.dtype = torch.float32) -> Tensor:
    def network(sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        assert sample.dtype == dtype
        return spread(sample, len(encoder_hidden_states)) * -0.5

    context = torch.zeros(2, 3, 5, dtype=dtype)
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(0)).to(dtype)
    one = torch.ones(1)
    return denoise(network, scheduler, noise, context, guidance_scale=one * 2, guidance_rescale=one)
