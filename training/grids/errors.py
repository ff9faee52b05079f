"""How far from many steps' images a few steps' are, from the same noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shared.domain.prompts import ImageSettings
from shared.domain.sampling import SchedulerName
from shared.models.card import ModelCard, read_json
from worker.devices import Device
from worker.diffusion.sampler import denoise
from worker.diffusion.solvers import Course, plot_course, plot_grid
from worker.loading import load_pipeline
from worker.pipeline import Batch

REFERENCE_STEPS = 200
BATCH = 8

Errors = npt.NDArray[np.float64]
"""Of each image: root mean square over its latents, which have unit variance."""


class SolverErrors:
    """Draws prompts along grids, and compares latents with those of `REFERENCE_STEPS` steps."""

    def __init__(self, card: ModelCard, prompts: Sequence[str], first_seed: int) -> None:
        """Load the model, and draw the reference.

        Args:
            card: of the model, which draws with its own guidance.
            prompts: one image each.
            first_seed: of the first; the others take the next ones.

        Raises:
            ConfigurationError: a part of the model is missing or broken.
        """
        self.config = read_json(card.folder / "scheduler" / "scheduler_config.json")
        self._pipeline = load_pipeline(card, Device.parse("cpu"))
        sampler = card.sampler.model_dump()
        jobs = [
            ImageSettings(
                prompt=prompt,
                seed=first_seed + index,
                width=card.width,
                height=card.height,
                **sampler,
            )
            for index, prompt in enumerate(prompts)
        ]
        self._batches = [
            self._pipeline.prepare(jobs[begin : begin + BATCH])
            for begin in range(0, len(jobs), BATCH)
        ]
        reference = plot_course(self.config, SchedulerName.DPM_SOLVER, REFERENCE_STEPS, None)
        self._reference = self._latents(reference)

    def along(self, grid: Sequence[int]) -> Errors:
        """Return the errors of DPM-Solver++ along falling timesteps."""
        return self.of(plot_grid(self.config, grid))

    def of(self, course: Course) -> Errors:
        """Return the errors of a solver on its grid."""
        away = self._latents(course) - self._reference
        errors: Errors = away.double().square().mean(dim=(1, 2, 3)).sqrt().numpy()
        return errors

    @torch.inference_mode()
    def _latents(self, course: Course) -> Tensor:
        return torch.cat([self._drawn(batch, course) for batch in self._batches])

    def _drawn(self, batch: Batch, course: Course) -> Tensor:
        return denoise(
            self._pipeline.backend.denoise,
            course.solver(),
            batch.noise,
            batch.embeddings,
            guidance_scale=torch.tensor([job.guidance_scale for job in batch.jobs]),
            guidance_rescale=torch.tensor([job.guidance_rescale for job in batch.jobs]),
        )
