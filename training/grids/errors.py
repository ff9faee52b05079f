"""How far from many steps' images a few steps' are, from the same noise."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shared.domain.prompts import ImageSettings
from shared.domain.sampling import SchedulerName, one_step
from shared.models.card import ModelCard
from worker.diffusion.sampler import Denoiser, denoise
from worker.diffusion.solvers import Course, plot_course, plot_grid
from worker.pipeline import Batch, Pipeline

REMEMBERED_GRIDS = 3
"""So many hold all that a descent comes back to: it moves the last timestep first."""

Errors = npt.NDArray[np.float64]
"""Of each image: root mean square over its latents, which have unit variance."""


class Question(NamedTuple):
    """What an image shows, and which."""

    prompt: str
    seed: int


class SolverErrors:
    """Draws questions along grids, and compares latents with those of many steps."""

    def __init__(
        self,
        pipeline: Pipeline,
        card: ModelCard,
        config: Mapping[str, Any],
        questions: Sequence[Question],
        *,
        reference_steps: int,
        batch: int,
    ) -> None:
        """Draw the reference.

        Args:
            pipeline: the model, loaded.
            card: of the model, which draws with its own guidance.
            config: its ``scheduler_config.json``.
            questions: one an image.
            reference_steps: of DPM-Solver++ on its own grid, for what is compared with.
            batch: how many images are drawn at once.
        """
        self._denoise = pipeline.backend.denoise
        self._config = config
        self._batches = [
            pipeline.prepare(
                [_job(card, question) for question in questions[begin : begin + batch]]
            )
            for begin in range(0, len(questions), batch)
        ]
        self._predictions: OrderedDict[tuple[int, tuple[float, ...]], Tensor] = OrderedDict()
        many = plot_course(config, SchedulerName.DPM_SOLVER, reference_steps, None)
        self._reference = self._latents(many, [self._denoise] * len(self._batches))

    def along(self, grid: Sequence[int]) -> Errors:
        """Return the errors of DPM-Solver++ along falling timesteps, (N,).

        What the network said before grids parted is not asked again.
        """
        course = plot_grid(self._config, grid)
        remembering = [self._remembering(number, grid) for number in range(len(self._batches))]
        away = self._latents(course, remembering) - self._reference
        most = REMEMBERED_GRIDS * len(grid) * len(self._batches)
        while len(self._predictions) > most:
            self._predictions.popitem(last=False)
        errors: Errors = away.double().square().mean(dim=(1, 2, 3)).sqrt().cpu().numpy()
        return errors

    @torch.inference_mode()
    def _latents(self, course: Course, denoisers: Sequence[Denoiser]) -> Tensor:
        drawn = zip(self._batches, denoisers, strict=True)
        return torch.cat([_drawn(batch, course, denoiser) for batch, denoiser in drawn])

    def _remembering(self, number: int, grid: Sequence[int]) -> Denoiser:
        """Return a denoiser for one run of a batch: what it says follows from the steps before."""
        taken = itertools.count(1)

        def denoiser(sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
            key = number, tuple(grid[: next(taken)])
            if key not in self._predictions:
                said = self._denoise(sample, timestep, encoder_hidden_states)
                self._predictions[key] = said.clone()
            self._predictions.move_to_end(key)
            return self._predictions[key]

        return denoiser


def _job(card: ModelCard, question: Question) -> ImageSettings:
    return ImageSettings(
        prompt=question.prompt,
        seed=question.seed,
        width=card.width,
        height=card.height,
        **one_step(card.sampler).model_dump(),
    )


def _drawn(batch: Batch, course: Course, denoiser: Denoiser) -> Tensor:
    return denoise(
        denoiser,
        course.solver(),
        batch.noise,
        batch.embeddings,
        guidance_scale=torch.tensor([job.guidance_scale for job in batch.jobs]),
        guidance_rescale=torch.tensor([job.guidance_rescale for job in batch.jobs]),
    )
