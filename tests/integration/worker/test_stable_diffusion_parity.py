"""Our pipeline against diffusers' own, on the same folder, noise, timesteps and guidance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from shared.domain.prompts import ImageSettings
from shared.domain.sampling import SchedulerName
from shared.errors import ConfigurationError
from shared.models.card import read_card
from support.closeness import ALIKE, difference
from support.families import SIDE, Family, rewrite_json, write_family
from support.grids import keep_grids
from worker.devices import Device
from worker.diffusion.noise import initial_noise
from worker.loading import load_pipeline
from worker.pipeline import Pipeline

STEPS = 10
GUIDANCE = 7.5
PROMPTS = ("a red apple on a table", "two dogs")
NEGATIVE = "blurred"
LATENTS = (4, 8, 8)
SEARCHED = (970, 930, 850, 700, 610, 420, 300, 190, 80, 30)
THEIRS: dict[SchedulerName, Any] = {
    SchedulerName.DPM_SOLVER: DPMSolverMultistepScheduler,
    SchedulerName.DDIM: DDIMScheduler,
    SchedulerName.EULER: EulerDiscreteScheduler,
    SchedulerName.UNIPC: UniPCMultistepScheduler,
    SchedulerName.SEARCHED: DPMSolverMultistepScheduler,
}
PUBLISHED_WITH: dict[Family, Any] = {"sd-1.5": PNDMScheduler, "sd-2.1": DDIMScheduler}


@pytest.fixture(scope="module", params=PUBLISHED_WITH)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one family, whose name it bears."""
    folder = write_family(request.param, tmp_path_factory.mktemp("models") / request.param)
    return keep_grids(folder, SEARCHED)


@pytest.fixture(scope="module")
def ours(folder: Path) -> Pipeline:
    return load_pipeline(read_card(folder), Device.parse("cpu"), threads=1)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> StableDiffusionPipeline:
    family: Any = folder.name
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(folder / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(folder / "unet"),
        scheduler=PUBLISHED_WITH[family].from_pretrained(folder / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def job(prompt: str, seed: int, name: SchedulerName, **settings: Any) -> ImageSettings:
    return ImageSettings(
        prompt=prompt,
        negative_prompt=NEGATIVE,
        seed=seed,
        width=SIDE,
        height=SIDE,
        scheduler=name,
        steps=STEPS,
        **{"guidance_scale": GUIDANCE, "guidance_rescale": 0.0} | settings,
    )


def drawn_by_diffusers(
    pipeline: StableDiffusionPipeline, name: SchedulerName, **settings: Any
) -> Tensor:
    published = pipeline.scheduler
    pipeline.scheduler = THEIRS[name].from_config(published.config)
    is_searched = name is SchedulerName.SEARCHED
    grid = {"timesteps": list(SEARCHED)} if is_searched else {"num_inference_steps": STEPS}
    try:
        latents: Tensor = pipeline(
            prompt=list(PROMPTS),
            negative_prompt=[NEGATIVE] * len(PROMPTS),
            width=SIDE,
            height=SIDE,
            latents=torch.stack([initial_noise(seed, LATENTS) for seed in range(len(PROMPTS))]),
            output_type="latent",
            **{"guidance_scale": GUIDANCE} | grid | settings,
        ).images
    finally:
        pipeline.scheduler = published
    return latents


@pytest.mark.parametrize("name", SchedulerName)
def test_latents_agree_with_diffusers_own_pipeline(
    name: SchedulerName, ours: Pipeline, theirs: StableDiffusionPipeline
) -> None:
    expected = drawn_by_diffusers(theirs, name)

    found = ours.sample([job(prompt, seed, name) for seed, prompt in enumerate(PROMPTS)])

    assert float(expected.std()) > 0.1
    assert difference(found, expected) < ALIKE


def test_guidance_rescale_agrees_with_diffusers_own_pipeline(
    ours: Pipeline, theirs: StableDiffusionPipeline
) -> None:
    name = SchedulerName.DPM_SOLVER
    expected = drawn_by_diffusers(theirs, name, guidance_rescale=0.8)

    found = ours.sample(
        [job(prompt, seed, name, guidance_rescale=0.8) for seed, prompt in enumerate(PROMPTS)]
    )

    assert difference(found, expected) < ALIKE
    assert difference(found, drawn_by_diffusers(theirs, name)) > 100 * ALIKE


def test_solvers_differ_by_more_than_the_tolerance(ours: Pipeline) -> None:
    """Else agreement would say nothing of which solver was asked for."""
    drawn = [ours.sample([job(PROMPTS[0], 0, name)]) for name in SchedulerName]

    for index, one in enumerate(drawn):
        for other in drawn[index + 1 :]:
            assert difference(one, other) > 10 * ALIKE


def test_the_timesteps_of_an_image_are_those_it_was_drawn_along(ours: Pipeline) -> None:
    [drawing] = ours.draw([job(PROMPTS[0], 0, SchedulerName.DDIM)])

    assert drawing.timesteps == list(range(901, 0, -100))


def test_a_wrong_scheduler_configuration_is_told_when_the_model_is_loaded(tmp_path: Path) -> None:
    broken = write_family("sd-1.5", tmp_path / "broken")
    rewrite_json(broken / "scheduler" / "scheduler_config.json", prediction_type="flow")

    with pytest.raises(ConfigurationError, match="prediction_type: 'flow' is none of epsilon"):
        load_pipeline(read_card(broken), Device.parse("cpu"), threads=1)
