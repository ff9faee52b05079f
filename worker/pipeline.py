"""From settings to pixels: encode the text, take the steps, decode."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from shared.db.outcomes import PhaseTimes
from shared.domain.money import share_evenly
from shared.domain.prompts import ImageSettings
from shared.domain.sampling import Squeeze
from worker.backends.base import Backend
from worker.diffusion.noise import initial_noise
from worker.diffusion.sampler import denoise
from worker.diffusion.schedule import build_scheduler, with_timesteps

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Drawing:
    """Pixels (height, width, 3), uint8, and what they took."""

    pixels: Tensor
    timesteps: list[int]
    times: PhaseTimes


class Pipeline:
    """Draws images with one loaded model."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._scheduler = build_scheduler(backend.scheduler_config)

    def draw(self, jobs: Sequence[ImageSettings]) -> list[Drawing]:
        """Draw images that share size, steps and squeeze, as one batch on the device.

        Raises:
            ValueError: the squeeze does not fit the steps.
        """
        first = jobs[0]
        squeeze = Squeeze.parse(first.squeeze) if first.squeeze else None
        scheduler = with_timesteps(self._scheduler, first.steps, squeeze)
        timesteps = [int(timestep) for timestep in scheduler.timesteps]
        with torch.inference_mode():
            contexts, text_encode_ns = self._timed(lambda: self._encode(jobs))
            latents, denoise_ns = self._timed(lambda: self._sample(jobs, scheduler, *contexts))
            pixels, decode_ns = self._timed(lambda: self._backend.decode(latents))
        shares = zip(
            pixels,
            share_evenly(text_encode_ns, len(jobs)),
            share_evenly(denoise_ns, len(jobs)),
            share_evenly(decode_ns, len(jobs)),
            strict=True,
        )
        return [
            Drawing(image, timesteps, PhaseTimes(text_ns, steps_ns, vae_ns))
            for image, text_ns, steps_ns, vae_ns in shares
        ]

    def _encode(self, jobs: Sequence[ImageSettings]) -> tuple[Tensor, Tensor]:
        negative = self._backend.encode_text([job.negative_prompt for job in jobs])
        return negative, self._backend.encode_text([job.prompt for job in jobs])

    def _sample(
        self, jobs: Sequence[ImageSettings], scheduler: Any, negative: Tensor, context: Tensor
    ) -> Tensor:
        shape = self._backend.latent_shape(jobs[0].width, jobs[0].height)
        noise = torch.stack([initial_noise(job.seed, shape) for job in jobs])
        to_device = self._backend.to_device
        return denoise(
            self._backend.denoise,
            scheduler,
            to_device(noise),
            negative,
            context,
            guidance_scale=to_device(torch.tensor([job.guidance_scale for job in jobs])),
            guidance_rescale=to_device(torch.tensor([job.guidance_rescale for job in jobs])),
        )

    def _timed(self, work: Callable[[], T]) -> tuple[T, int]:
        begin = time.perf_counter_ns()
        result = work()
        self._backend.synchronize()
        return result, time.perf_counter_ns() - begin
