"""Ways of drawing that are ready to draw: their models are loaded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from shared.domain.prompts import ImageSettings
from shared.models.card import ModelCard, read_card, read_json
from training.data.dataset import Pictures
from training.quality.fidelity import Asked
from training.quality.variants import Variant
from worker.devices import Device
from worker.diffusion.sampler import denoise
from worker.diffusion.schedule import noise_level
from worker.diffusion.solvers import plot_course
from worker.loading import load_pipeline
from worker.pipeline import Pipeline


def noise_levels(card: ModelCard) -> list[float]:
    """Return the noise level sqrt((1 - ᾱ) / ᾱ) of each step of a model's own sampler."""
    config = read_json(card.folder / "scheduler" / "scheduler_config.json")
    sampler = card.sampler
    course = plot_course(config, sampler.scheduler, sampler.steps, sampler.squeeze)
    solver = course.solver()
    return [noise_level(solver, float(timestep)) for timestep in solver.timesteps]


class Ways:
    """Draws questions in each of some ways, on the processor, with the model's own sampler."""

    def __init__(self, card: ModelCard, variants: Sequence[Variant], threads: int) -> None:
        """Load what the ways draw with.

        Args:
            card: of the model.
            variants: the ways.
            threads: of the processor; 0 takes one a core.

        Raises:
            ConfigurationError: the model, or another one that a variant names, is broken.
        """
        self._card = card
        self._pipelines: dict[Path | None, Pipeline] = {
            folder: load_pipeline(
                card if folder is None else read_card(folder), Device.parse("cpu"), threads=threads
            )
            for folder in {variant.folder for variant in variants}
        }

    @torch.inference_mode()
    def draw(self, variant: Variant, asked: Sequence[Asked]) -> tuple[Pictures, float]:
        """Draw questions at once.

        Returns:
            Pictures (N, H, W, 3), uint8, and the seconds from noise to pixels, without the text's.
        """
        pipeline = self._pipelines[variant.folder]
        jobs = self._jobs(asked)
        prepared = pipeline.prepare(jobs)
        backend, shortcuts = pipeline.backend, variant.shortcuts
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

    def _jobs(self, asked: Sequence[Asked]) -> list[ImageSettings]:
        card = self._card
        sampler = card.sampler.model_dump()
        return [
            ImageSettings(
                prompt=one.prompt, seed=one.seed, width=card.width, height=card.height, **sampler
            )
            for one in asked
        ]
