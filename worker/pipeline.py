"""From settings to pixels: encode the text, take the steps, decode, look at the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from shared.db.outcomes import PhaseTimes
from shared.domain.money import share_evenly
from shared.domain.prompts import ImageSettings
from shared.domain.quality import QUALITIES, Quality, Shortcuts
from shared.models.grids import read_grids
from worker.backends.base import Backend, BackendRecord
from worker.diffusion.noise import initial_noise
from worker.diffusion.sampler import denoise
from worker.diffusion.schedule import build_scheduler
from worker.diffusion.solvers import Course, plot_course
from worker.drawing import DeviceUse, Drawing
from worker.embeddings import EmbeddingCache
from worker.models.tokenizer import PromptTokenizer

if TYPE_CHECKING:
    from worker.models.safety import SafetyChecker

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """Images of one size and schedule that the denoiser can begin with at once."""

    jobs: Sequence[ImageSettings]
    course: Course
    noise: Tensor
    """(B, C, H, W), on the device."""
    embeddings: Tensor
    """(2 B, T, D), on the device: the negative prompts', then the prompts'."""
    prompt_lost: Sequence[str]
    negative_prompt_lost: Sequence[str]
    encoding: tuple[int, int]
    """When text was encoded, in nanoseconds of `time.perf_counter_ns`."""


class Pipeline:
    """Draws images with one loaded model."""

    def __init__(
        self,
        backend: Backend,
        tokenizer: PromptTokenizer,
        scheduler_config: Mapping[str, Any],
        safety_checker: SafetyChecker | None = None,
        clock: DeviceUse | None = None,
        qualities: Mapping[Quality, Shortcuts] = QUALITIES,
    ) -> None:
        """Put loaded parts together.

        Args:
            backend: runs the networks.
            tokenizer: the model's own.
            scheduler_config: the checkpoint's ``scheduler_config.json``.
            safety_checker: the checkpoint's, where it has one.
            clock: of the device, where other models draw on it too.
            qualities: what an image of each may be drawn without.

        Raises:
            ConfigurationError: the scheduler's configuration is wrong.
        """
        # Else the first job would be the one to find out.
        build_scheduler(scheduler_config)
        read_grids(scheduler_config)
        self.backend = backend
        self._tokenizer = tokenizer
        self._scheduler_config = scheduler_config
        self._safety_checker = safety_checker
        self._embeddings = EmbeddingCache(backend.encode_text)
        self._clock = clock or DeviceUse()
        self._qualities = qualities

    def draw(self, jobs: Sequence[ImageSettings], *, check_safety: bool = True) -> list[Drawing]:
        """Prepare a batch and draw it."""
        return self.draw_prepared(self.prepare(jobs), check_safety=check_safety)

    @torch.inference_mode()
    def prepare(self, jobs: Sequence[ImageSettings]) -> Batch:
        """Do for a batch what needs no denoiser: tokens, text embeddings, noise, timesteps.

        Args:
            jobs: one an image; they share size, scheduler, steps, squeeze and quality.

        Raises:
            ValueError: the squeeze does not fit the steps, or no grid of so many was searched.
        """
        course = self._course_of(jobs[0])
        prompts = self._tokenizer([job.prompt for job in jobs])
        negatives = self._tokenizer([job.negative_prompt for job in jobs])
        shape = self.backend.latent_shape(jobs[0].width, jobs[0].height)
        noise = torch.stack([initial_noise(job.seed, shape) for job in jobs])
        begin = time.perf_counter_ns()
        with self.backend.beside():
            embeddings = self._embeddings(torch.cat([negatives.ids, prompts.ids]))
            noise = self.backend.to_device(noise)
        encoded = time.perf_counter_ns()
        return Batch(
            jobs=jobs,
            course=course,
            noise=noise,
            embeddings=embeddings,
            prompt_lost=prompts.lost,
            negative_prompt_lost=negatives.lost,
            encoding=(begin, encoded),
        )

    @torch.inference_mode()
    def draw_prepared(self, prepared: Batch, *, check_safety: bool = True) -> list[Drawing]:
        """Draw a batch.

        Of the time that its text took to encode only what the device did not spend on the
        batch before is counted: nothing is counted twice.

        Args:
            prepared: from `prepare`; used up by the call.
            check_safety: whether the safety checker, where there is one, looks at the images.
        """
        begin, encoded = prepared.encoding
        text_ns = max(0, encoded - max(begin, self._clock.free_since_ns))
        checker = self._safety_checker if check_safety else None
        latents, steps_ns = self._timed(lambda: self._sample(prepared))
        tiny = self._qualities[prepared.jobs[0].quality].tiny_decoder
        pixels, decode_ns = self._timed(lambda: self.backend.decode(latents, tiny=tiny))
        flags, check_ns = self._timed(lambda: checker(pixels)) if checker else (None, 0)
        self._clock.free_since_ns = time.perf_counter_ns()
        peak_bytes = _peak_bytes()
        images = len(prepared.jobs)
        times = zip(
            *(share_evenly(ns, images) for ns in (text_ns, steps_ns, decode_ns, check_ns)),
            strict=True,
        )
        return [
            Drawing(
                pixels=pixels[index].numpy(),
                timesteps=prepared.course.timesteps,
                times=PhaseTimes(*shares),
                prompt_lost=prepared.prompt_lost[index],
                negative_prompt_lost=prepared.negative_prompt_lost[index],
                is_flagged=None if flags is None else flags[index],
                peak_bytes=peak_bytes,
            )
            for index, shares in enumerate(times)
        ]

    @torch.inference_mode()
    def sample(self, jobs: Sequence[ImageSettings]) -> Tensor:
        """Take the steps of a batch without decoding it: latents (B, C, H, W)."""
        return self._sample(self.prepare(jobs))

    @property
    def compiled_sizes(self) -> Sequence[tuple[int, int]] | None:
        """Width and height in pixels of the only images that it draws; None is any."""
        return self.backend.compiled_sizes

    def describe(self) -> BackendRecord:
        """Tell what draws."""
        return self.backend.describe()

    def _course_of(self, job: ImageSettings) -> Course:
        return plot_course(self._scheduler_config, job.scheduler, job.steps, job.squeeze)

    def _sample(self, batch: Batch) -> Tensor:
        return denoise(
            self.backend.denoise,
            batch.course.solver(),
            batch.noise,
            batch.embeddings,
            guidance_scale=torch.tensor([job.guidance_scale for job in batch.jobs]),
            guidance_rescale=torch.tensor([job.guidance_rescale for job in batch.jobs]),
            shortcuts=self._qualities[batch.jobs[0].quality],
            deep=self.backend.deep_denoiser,
        )

    def _timed(self, work: Callable[[], T]) -> tuple[T, int]:
        begin = time.perf_counter_ns()
        result = work()
        self.backend.synchronize()
        return result, time.perf_counter_ns() - begin


def _peak_bytes() -> int:
    """Return the most CUDA memory that torch had in use since this was last asked, else 0."""
    peak = torch.cuda.max_memory_allocated()
    if peak:
        torch.cuda.reset_peak_memory_stats()
    return peak
