"""diffusers' own pipeline, called as its users call it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import diffusers
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor

from shared.db.outcomes import PhaseTimes
from shared.domain.sampling import SchedulerName
from worker.bench.speed.contestants import STEPS_OF_A_KIND, Setup, prompts_of
from worker.bench.speed.diffusers_pipeline import PipelineUNet, load_diffusers

LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


@dataclass(frozen=True, slots=True)
class Moments:
    """When the parts of one call of the pipeline ended, in nanoseconds of one clock."""

    begin: int
    encoded: int
    """The text encoder's last run."""
    steps: Sequence[int]
    """Those that were taken; at least one."""
    end: int

    @property
    def last_step_ns(self) -> int:
        """What the last step took that was taken."""
        before, end = [self.encoded, *self.steps][-2:]
        return end - before

    def phases(self, steps: int, chunk: int) -> PhaseTimes:
        """Divide all of the call between the phases, and tell an image's share.

        What lies between the text and the first step is the denoiser's, and all after the last
        step the decoder's.

        Args:
            steps: of an image; those that were not taken are reckoned to take what the last did.
            chunk: images that were drawn.
        """
        left_out_ns = (steps - len(self.steps)) * self.last_step_ns
        return PhaseTimes(
            (self.encoded - self.begin) // chunk,
            (self.steps[-1] - self.encoded + left_out_ns) // chunk,
            (self.end - self.steps[-1]) // chunk,
        )


class DiffusersContestant:
    """Draws chunks by calling the pipeline; its own callback tells when each step ended."""

    def __init__(self, pipeline: StableDiffusionPipeline, setup: Setup, layout: str) -> None:
        """Prepare what all rounds share.

        Args:
            pipeline: loaded.
            setup: the model, the size and the chunk.
            layout: how convolutions' weights are laid out, a name of `LAYOUTS`.
        """
        self.pipeline = pipeline
        self._setup = setup
        self._prompts = prompts_of(setup.chunk)
        latents = setup.side // pipeline.vae_scale_factor
        self._noise = torch.randn(
            setup.chunk,
            pipeline.unet.config.in_channels,
            latents,
            latents,
            generator=torch.Generator().manual_seed(0),
        )
        self.lay_out(layout)

    @property
    def settings(self) -> str:
        """Version and options, for the report."""
        told = [
            f"diffusers {diffusers.__version__}",
            f"torch {torch.__version__}",
            self._layout,
            "its own pipeline",
        ]
        if isinstance(self.pipeline.unet, PipelineUNet):
            told.insert(0, "diffusers' parts")
        if self._setup.card.sampler.squeeze:
            told.append(f"{self._setup.steps} steps of a plain grid, as it has no squeezed one")
        if self._setup.card.sampler.scheduler is SchedulerName.SEARCHED:
            told.append(f"{self._setup.steps} steps of a plain grid, not of the searched one")
        return ", ".join(told)

    def lay_out(self, layout: str) -> None:
        """Lay convolutions' weights out."""
        self._layout = layout
        networks: tuple[Any, ...] = (self.pipeline.unet, self.pipeline.vae)
        for network in networks:
            network.to(memory_format=LAYOUTS[layout])

    def warm(self) -> None:
        """Run everything once: of the denoiser, a step."""
        self.draw(next(self._prompts), self._noise, 1)

    def round(self) -> PhaseTimes:
        """Draw a chunk, of two steps where it is not to be whole, the others as the second."""
        most = self._setup.steps if self._setup.whole else STEPS_OF_A_KIND
        _, moments = self.draw(next(self._prompts), self._noise, most)
        return moments.phases(self._setup.steps, self._setup.chunk)

    def step_ns(self) -> int:
        """Return what a chunk's second step takes."""
        _, moments = self.draw(next(self._prompts), self._noise, STEPS_OF_A_KIND, "latent")
        return moments.last_step_ns

    def draw(
        self,
        prompts: Sequence[str],
        noise: Tensor,
        most: int,
        output: Literal["pil", "latent"] = "pil",
    ) -> tuple[Any, Moments]:
        """Call the pipeline.

        Args:
            prompts: a chunk of them.
            noise: standard normal latents, (chunk, C, H, W).
            most: steps that are taken; at least one.
            output: images of Pillow, which are what a user gets, or undecoded latents.

        Returns:
            The images, and when each part was done.
        """
        setup, pipeline = self._setup, self.pipeline
        encoded: list[int] = []
        steps: list[int] = []

        def end_step(pipeline: Any, _step: int, _timestep: Tensor, kept: Any) -> Any:
            steps.append(time.perf_counter_ns())
            # How diffusers' documentation has a callback stop the loop.
            pipeline._interrupt = len(steps) >= most  # noqa: SLF001
            return kept

        text_hook = pipeline.text_encoder.register_forward_hook(
            lambda *_: encoded.append(time.perf_counter_ns())
        )
        try:
            begin = time.perf_counter_ns()
            images = pipeline(
                list(prompts),
                height=setup.side,
                width=setup.side,
                num_inference_steps=setup.steps,
                guidance_scale=setup.card.sampler.guidance_scale,
                guidance_rescale=setup.card.sampler.guidance_rescale,
                latents=noise,
                output_type=output,
                callback_on_step_end=end_step,
            ).images
            end = time.perf_counter_ns()
        finally:
            text_hook.remove()
        return images, Moments(begin, encoded[-1], steps, end)


def open_diffusers(setup: Setup) -> DiffusersContestant:
    """Load a model, and take the layout in which a step is faster here.

    Raises:
        ConfigurationError: a part of the model is missing or broken.
        ValueError: it does not fit diffusers' classes.
    """
    torch.set_num_threads(setup.threads)
    contestant = DiffusersContestant(load_diffusers(setup.card), setup, next(iter(LAYOUTS)))
    taken = {}
    for layout in LAYOUTS:
        contestant.lay_out(layout)
        taken[layout] = contestant.step_ns()
    contestant.lay_out(min(taken, key=taken.__getitem__))
    return contestant
