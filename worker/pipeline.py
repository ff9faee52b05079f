"""From settings to pixels: encode the text, take the steps, decode, look at the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from shared.db.outcomes import PhaseTimes
from shared.domain.money import share_evenly
from shared.domain.prompts import ImageSettings
from shared.domain.sampling import Squeeze
from worker.backends.base import Backend, BackendRecord
from worker.diffusion.noise import initial_noise
from worker.diffusion.sampler import denoise
from worker.diffusion.schedule import Scheduler, build_scheduler, with_timesteps
from worker.drawing import Drawing
from worker.models.tokenizer import PromptTokenizer, Tokens

if TYPE_CHECKING:
    from worker.models.safety import SafetyChecker

T = TypeVar("T")


class Pipeline:
    """Draws images with one loaded model."""

    def __init__(
        self,
        backend: Backend,
        tokenizer: PromptTokenizer,
        scheduler_config: Mapping[str, Any],
        safety_checker: SafetyChecker | None = None,
    ) -> None:
        """Put loaded parts together.

        Args:
            backend: runs the networks.
            tokenizer: the model's own.
            scheduler_config: the checkpoint's ``scheduler_config.json``.
            safety_checker: the checkpoint's, where it has one.

        Raises:
            ConfigurationError: the scheduler's configuration is wrong.
        """
        build_scheduler(scheduler_config)  # else the first job would be the one to find out
        self.backend = backend
        self._tokenizer = tokenizer
        self._scheduler_config = scheduler_config
        self._safety_checker = safety_checker

    def draw(self, jobs: Sequence[ImageSettings], *, check_safety: bool = True) -> list[Drawing]:
        """Draw images that share size, scheduler, steps and squeeze, as one batch.

        Args:
            jobs: one an image.
            check_safety: whether the safety checker, where there is one, looks at them.

        Raises:
            ValueError: the squeeze does not fit the steps.
        """
        scheduler = self._scheduler_for(jobs[0])
        timesteps = [_plain(timestep) for timestep in scheduler.timesteps]
        checker = self._safety_checker if check_safety else None
        with torch.inference_mode():
            prompts = self._tokenizer([job.prompt for job in jobs])
            negatives = self._tokenizer([job.negative_prompt for job in jobs])
            contexts, text_ns = self._timed(lambda: self._encode(negatives, prompts))
            latents, steps_ns = self._timed(lambda: self._sample(jobs, scheduler, *contexts))
            pixels, decode_ns = self._timed(lambda: self.backend.decode(latents))
            flags, check_ns = self._timed(lambda: checker(pixels)) if checker else (None, 0)
        times = zip(
            *(share_evenly(ns, len(jobs)) for ns in (text_ns, steps_ns, decode_ns, check_ns)),
            strict=True,
        )
        return [
            Drawing(
                pixels=pixels[index].numpy(),
                timesteps=timesteps,
                times=PhaseTimes(*shares),
                prompt_lost=prompts.lost[index],
                negative_prompt_lost=negatives.lost[index],
                is_flagged=None if flags is None else flags[index],
            )
            for index, shares in enumerate(times)
        ]

    def sample(self, jobs: Sequence[ImageSettings]) -> Tensor:
        """Take the steps of a batch without decoding it: latents (B, C, H, W)."""
        scheduler = self._scheduler_for(jobs[0])
        with torch.inference_mode():
            prompts = self._tokenizer([job.prompt for job in jobs])
            negatives = self._tokenizer([job.negative_prompt for job in jobs])
            return self._sample(jobs, scheduler, *self._encode(negatives, prompts))

    def describe(self) -> BackendRecord:
        """Tell what draws."""
        return self.backend.describe()

    def _scheduler_for(self, job: ImageSettings) -> Scheduler:
        squeeze = Squeeze.parse(job.squeeze) if job.squeeze else None
        return with_timesteps(
            build_scheduler(self._scheduler_config, job.scheduler), job.steps, squeeze
        )

    def _encode(self, negatives: Tokens, prompts: Tokens) -> tuple[Tensor, Tensor]:
        return self.backend.encode_text(negatives.ids), self.backend.encode_text(prompts.ids)

    def _sample(
        self, jobs: Sequence[ImageSettings], scheduler: Scheduler, negative: Tensor, context: Tensor
    ) -> Tensor:
        shape = self.backend.latent_shape(jobs[0].width, jobs[0].height)
        noise = torch.stack([initial_noise(job.seed, shape) for job in jobs])
        to_device = self.backend.to_device
        return denoise(
            self.backend.denoise,
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
        self.backend.synchronize()
        return result, time.perf_counter_ns() - begin


def _plain(timestep: Tensor) -> float:
    """Return a timestep as a whole number where it is one."""
    value = float(timestep)
    return int(value) if value.is_integer() else value
