"""Every question drawn in every way, all ways of a few questions in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from shared.domain.prompts import ImageSettings
from shared.domain.quality import Shortcuts
from shared.models.card import ModelCard, read_card, read_json
from training.data import Pictures
from training.quality.fidelity import Asked
from training.quality.variants import Variant
from worker.devices import Device
from worker.diffusion.sampler import denoise
from worker.diffusion.schedule import noise_level
from worker.diffusion.solvers import plot_course
from worker.loading import load_pipeline
from worker.pipeline import Pipeline

Watch = Callable[[int], None]
"""Told how many questions have been drawn in every way."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one way of drawing gave."""

    pictures: Pictures
    """(N, H, W, 3), uint8, in the order of the questions."""
    batch_seconds: list[float]
    """What each batch took, from noise to pixels, without its text."""


def noise_levels(card: ModelCard) -> list[float]:
    """Return the noise level sqrt((1 - ᾱ) / ᾱ) of each step of a model's own sampler."""
    config = read_json(card.folder / "scheduler" / "scheduler_config.json")
    sampler = card.sampler
    course = plot_course(config, sampler.scheduler, sampler.steps, sampler.squeeze)
    solver = course.solver()
    return [noise_level(solver, float(timestep)) for timestep in solver.timesteps]


def draw_all(
    card: ModelCard,
    variants: Sequence[Variant],
    asked: Sequence[Asked],
    *,
    batch: int,
    threads: int,
    watch: Watch,
) -> dict[str, Drawn]:
    """Draw each question once in each way, on the processor, with the model's own sampler.

    The ways take turns batch by batch, so that what slows the machine down for a while slows
    all of them.

    Args:
        card: of the model.
        variants: of different names.
        asked: prompts and their seeds.
        batch: how many are drawn at once.
        threads: of the processor; 0 takes one a core.
        watch: told of the progress.

    Raises:
        ConfigurationError: the model, or another one that a variant names, is broken.
    """
    pipelines = _load({variant.folder for variant in variants}, card, threads)
    for variant in variants:  # what the first batch has to set up is nobody's cost
        _draw(pipelines[variant.folder], _jobs(card, asked[:batch]), variant.shortcuts)
    parts: dict[str, list[Pictures]] = {variant.name: [] for variant in variants}
    seconds: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for start in range(0, len(asked), batch):
        jobs = _jobs(card, asked[start : start + batch])
        for variant in variants:
            pictures, took = _draw(pipelines[variant.folder], jobs, variant.shortcuts)
            parts[variant.name].append(pictures)
            seconds[variant.name].append(took)
        watch(start + len(jobs))
    return {name: Drawn(np.concatenate(parts[name]), seconds[name]) for name in parts}


def _load(
    folders: set[Path | None], card: ModelCard, threads: int
) -> Mapping[Path | None, Pipeline]:
    return {
        folder: load_pipeline(
            card if folder is None else read_card(folder), Device.parse("cpu"), threads=threads
        )
        for folder in folders
    }


def _jobs(card: ModelCard, asked: Sequence[Asked]) -> list[ImageSettings]:
    sampler = card.sampler.model_dump()
    return [
        ImageSettings(
            prompt=one.prompt, seed=one.seed, width=card.width, height=card.height, **sampler
        )
        for one in asked
    ]


@torch.inference_mode()
def _draw(
    pipeline: Pipeline, jobs: Sequence[ImageSettings], shortcuts: Shortcuts
) -> tuple[Pictures, float]:
    prepared = pipeline.prepare(jobs)
    backend = pipeline.backend
    begin = time.perf_counter()
    latents = denoise(
        backend.denoise,
        prepared.course.solver(),
        prepared.noise,
        prepared.embeddings,
        guidance_scale=torch.tensor([job.guidance_scale for job in jobs]),
        guidance_rescale=torch.tensor([job.guidance_rescale for job in jobs]),
        shortcuts=shortcuts,
        deep=backend.deep_denoiser,
    )
    pixels = backend.decode(latents, tiny=shortcuts.tiny_decoder)
    return pixels.numpy(), time.perf_counter() - begin
