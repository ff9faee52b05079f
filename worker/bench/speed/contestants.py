"""What is measured: a model's networks as somebody runs them, and how a round of them goes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from shared.db.outcomes import PhaseTimes
from shared.domain.quality import EXACTLY, Quality, Shortcuts
from shared.models.card import ModelCard, read_json
from worker.bench.speed.reckoning import Sparing
from worker.diffusion.reuse import DeepDenoiser
from worker.diffusion.sampler import denoise
from worker.diffusion.solvers import Course, plot_course
from worker.models.tokenizer import PromptTokenizer

NEGATIVE_PROMPT, PROMPT = "", "a red apple"
T = TypeVar("T")
ENCODED = 2
"""Rows of the text encoder an image: the negative prompt's and the prompt's."""
STEPS_OF_A_KIND = 2
"""That are taken where an image is not drawn whole: the first of them prepares what all share."""


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
    """Whether every step of an image is taken, not only the first two of each kind."""
    quality: Quality
    filter_bytes: int
    """That fused parts of tenstep's own may take beside the plain ones."""

    @property
    def steps(self) -> int:
        """How often the denoiser runs for an image."""
        return self.card.sampler.evaluations


def denoised_rows(card: ModelCard) -> int:
    """Return the denoiser's rows an image: without guidance the prompt's alone."""
    return 1 if card.sampler.guidance_scale == 1 else 2


class Contestant(Protocol):
    """Draws, and tells how long each part took."""

    @property
    def settings(self) -> str:
        """Version and options, for the report."""
        ...

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
        """Run the denoiser once: (B, C, H, W), (B,), (R, T, D) to (R, C, H, W), R B or 2 B."""
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
        self._tokens = PromptTokenizer(setup.card)
        self._prompts = prompts_of(setup.chunk)
        shape = networks.latent_shape(setup.side, setup.side)
        self._noise = torch.randn(setup.chunk, *shape, generator=torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def warm(self) -> None:
        """Run everything once: of the denoiser, a step of each kind."""
        self._sample(self._encode(), 1)
        self._decode(self._noise)

    @torch.inference_mode()
    def round(self) -> PhaseTimes:
        """Encode, take steps, decode.

        Where only two steps of a kind are taken, the others are reckoned to take what the second
        did: in the first one, some remember what all steps of an image share.
        """
        text, text_ns = _timed(self._encode)
        most = self._setup.steps if self._setup.whole else STEPS_OF_A_KIND
        (latents, spared_ns), denoise_ns = _timed(lambda: self._sample(text, most))
        _, decode_ns = _timed(lambda: self._decode(latents))
        chunk = self._setup.chunk
        return PhaseTimes(text_ns // chunk, (denoise_ns + spared_ns) // chunk, decode_ns // chunk)

    @property
    def _deep(self) -> DeepDenoiser | None:
        """The denoiser, where it can reuse features."""
        return None

    @property
    def _shortcuts(self) -> Shortcuts:
        """What images are drawn without."""
        return EXACTLY

    def _encode(self) -> Tensor:
        """Encode a chunk's prompts, which nobody has seen, after as many negative ones."""
        negative = [NEGATIVE_PROMPT] * self._setup.chunk
        return self._encode_ids(self._tokens([*negative, *next(self._prompts)]).ids)

    def _encode_ids(self, token_ids: Tensor) -> Tensor:
        return self._networks.encode_text(token_ids)

    def _decode(self, latents: Tensor) -> Tensor:
        return self._networks.decode(latents)

    def _sample(self, text: Tensor, most: int) -> tuple[Tensor, int]:
        """Return latents, and what steps would have taken that were left out."""
        sampler, chunk = self._setup.card.sampler, self._setup.chunk
        sparing = Sparing(self._networks.denoise, self._deep, most)
        latents = denoise(
            sparing,
            self._course().solver(),
            self._noise,
            text,
            guidance_scale=torch.full((chunk,), sampler.guidance_scale),
            guidance_rescale=torch.full((chunk,), sampler.guidance_rescale),
            shortcuts=self._shortcuts,
            deep=sparing.deep,
        )
        return latents, sparing.spared_ns

    def _course(self) -> Course:
        card = self._setup.card
        config = read_json(card.folder / "scheduler" / "scheduler_config.json")
        sampler = card.sampler
        return plot_course(config, sampler.scheduler, sampler.steps, sampler.squeeze)


def prompts_of(chunk: int) -> Iterator[list[str]]:
    """Return chunks of prompts, no two alike."""
    numbers = itertools.count()
    while True:
        yield [f"{PROMPT}, number {next(numbers)}" for _ in range(chunk)]


def _timed(work: Callable[[], T]) -> tuple[T, int]:
    begin = time.perf_counter_ns()
    result = work()
    return result, time.perf_counter_ns() - begin
