"""What is measured: a model's networks as somebody runs them, and how a round of them goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from shared.db.outcomes import PhaseTimes
from shared.models.card import ModelCard, read_json
from worker.diffusion.sampler import denoise
from worker.diffusion.solvers import Course, plot_course
from worker.models.tokenizer import PromptTokenizer

PROMPT = "a red apple"
GUIDED = 2
"""Rows of the denoiser an image: the negative prompt's and the prompt's."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is the same for every contestant of a contest."""

    card: ModelCard
    side: int
    """Width and height of every image, in pixels."""
    chunk: int
    """Images that are drawn at once."""
    threads: int
    whole: bool
    """Whether every step of an image is taken, not only the first two."""

    @property
    def steps(self) -> int:
        """How often the denoiser runs for an image."""
        return self.card.sampler.evaluations


class Contestant(Protocol):
    """Draws, and tells how long each part took."""

    settings: str
    """Version and options, for the report."""

    def warm(self) -> None:
        """Run everything once, untimed."""
        ...

    def round(self) -> PhaseTimes:
        """Take a round; times are of one image: a chunk's share."""
        ...


class Networks(Protocol):
    """A model's three networks, on the processor."""

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return (C, H, W) of the latents of an image of this size in pixels."""
        ...

    def encode_text(self, token_ids: Tensor) -> Tensor:
        """Encode token ids (B, T), int64, to text tokens (B, T, D)."""
        ...

    def denoise(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Run the denoiser once: (B, C, H, W), (B,), (2 B, T, D) to (2 B, C, H, W)."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (B, C, H, W) to pixels (B, height, width, 3), uint8."""
        ...


class NetworksContestant:
    """Runs networks as a pipeline does: the text, the steps of the guidance pair, the decoder."""

    def __init__(self, networks: Networks, setup: Setup, settings: str) -> None:
        """Prepare what all rounds share.

        Args:
            networks: loaded.
            setup: the model, the size and the chunk.
            settings: what the report says of them.
        """
        self.settings = settings
        self._networks = networks
        self._setup = setup
        tokens = PromptTokenizer(setup.card)
        self._ids = torch.cat(
            [tokens([text]).ids.repeat(setup.chunk, 1) for text in ("", PROMPT)]
        ).contiguous()
        shape = networks.latent_shape(setup.side, setup.side)
        self._noise = torch.randn(setup.chunk, *shape, generator=torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def warm(self) -> None:
        """Run each network once."""
        text = self._networks.encode_text(self._ids)
        self._step(text, self._course().timesteps[0])
        self._networks.decode(self._noise)

    @torch.inference_mode()
    def round(self) -> PhaseTimes:
        """Encode, take steps, decode.

        Where only two steps are taken, the others are reckoned to take what the second did: in
        the first one, some remember what all steps of an image share.
        """
        # A copy: what is remembered of one image must not serve the next.
        text, text_ns = _timed(lambda: self._networks.encode_text(self._ids).clone())
        if self._setup.whole:
            latents, denoise_ns = _timed(lambda: self._sample(text))
        else:
            latents, denoise_ns = self._noise, self._reckoned(text)
        _, decode_ns = _timed(lambda: self._networks.decode(latents))
        chunk = self._setup.chunk
        return PhaseTimes(text_ns // chunk, denoise_ns // chunk, decode_ns // chunk)

    def _sample(self, text: Tensor) -> Tensor:
        sampler, chunk = self._setup.card.sampler, self._setup.chunk
        return denoise(
            self._networks.denoise,
            self._course().solver(),
            self._noise,
            text,
            guidance_scale=torch.full((chunk,), sampler.guidance_scale),
            guidance_rescale=torch.full((chunk,), sampler.guidance_rescale),
        )

    def _reckoned(self, text: Tensor) -> int:
        first, second = (
            _timed(lambda at=timestep: self._step(text, at))[1]  # type: ignore[misc]
            for timestep in self._course().timesteps[:2]
        )
        return first + (self._setup.steps - 1) * second

    def _step(self, text: Tensor, timestep: float) -> Tensor:
        timesteps = torch.tensor(timestep).expand(len(self._noise))
        return self._networks.denoise(self._noise, timesteps, text)

    def _course(self) -> Course:
        card = self._setup.card
        config = read_json(card.folder / "scheduler" / "scheduler_config.json")
        sampler = card.sampler
        return plot_course(config, sampler.scheduler, sampler.steps, sampler.squeeze)


def _timed(work: Callable[[], Tensor]) -> tuple[Tensor, int]:
    begin = time.perf_counter_ns()
    result = work()
    return result, time.perf_counter_ns() - begin
