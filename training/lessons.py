"""What is taught behind the autoencoder: latents of pictures, and captions of them as tokens.

The latents of emoji are kept on disk, and their captions are made of names and styles. A stream's
pictures are encoded when their turn comes, and have the captions that they came with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from training import autoencoder, parallel, tokenizer
from training.config import PhaseConfig, RunConfig, StageConfig
from training.data.batches import StreamedBatches, open_stream
from training.data.dataset import choose, load_dataset, sampling_weights
from training.data.deck import CaptionDeck


class Lesson(Protocol):
    """A part of a step's batch."""

    @property
    def images(self) -> Tensor:
        """Pictures (B, H, W, 3) uint8."""

    @property
    def latents(self) -> Tensor:
        """Their latents (B, C, h, w), in RAM or on the device."""

    def tokens(self, generator: Generator) -> Tensor:
        """Return token ids (B, T) of a caption for each, some of them empty."""


class Lessons(Protocol):
    """All batches of a stage."""

    def __call__(self, step: int, part: slice, generator: Generator) -> Lesson:
        """Return a part of a step's batch.

        Args:
            step: its number.
            part: one of `parallel.parts`.
            generator: the step's, of which only the lesson has taken numbers.
        """


def open_lessons(
    run: RunConfig,
    config: StageConfig,
    folder: Path,
    *,
    seed: int | None = None,
    dropout: float = 0.0,
) -> Lessons:
    """Return what a stage is taught.

    Args:
        run: names the source.
        config: of the stage; a phase decides on the size of the pictures too, and which of the
            emoji are seen how often.
        folder: of the run, with its data, tokenizer and autoencoder.
        seed: of a stream's order; default: the run's.
        dropout: share of the captions that are empty.

    Raises:
        InputError: the source is not there.
    """
    if run.data.source == "emoji":
        return _KeptLessons(run, config, folder, dropout)
    return _StreamedLessons(run, config, folder, run.seed if seed is None else seed, dropout)


def _size(run: RunConfig, config: StageConfig) -> int:
    return run.phase_size(config) if isinstance(config, PhaseConfig) else run.data.image_size


class _KeptLessons:
    """Lessons of a data set in memory."""

    def __init__(self, run: RunConfig, config: StageConfig, folder: Path, dropout: float) -> None:
        self.dataset = load_dataset(folder / "data")
        latents = autoencoder.latents_of_size(run, self.dataset, folder, _size(run, config))
        self.latents = latents.to(memory_format=torch.channels_last)
        core_weight, only_core = run.data.core_weight, False
        if isinstance(config, PhaseConfig):
            core_weight = core_weight if config.core_weight is None else config.core_weight
            only_core = config.concepts == "core"
        self._weights = sampling_weights(self.dataset, core_weight, only_core=only_core)
        self._batch, self._folder, self._dropout = config.batch, folder, dropout

    def __call__(self, step: int, part: slice, generator: Generator) -> Lesson:
        return _KeptLesson(self, choose(self._weights, self._batch, generator), part)

    @cached_property
    def deck(self) -> CaptionDeck:
        """All captions; not every stage wants them."""
        words = tokenizer.load(self._folder / "tokenizer")
        return CaptionDeck(self.dataset.rows, words, self._dropout)


@dataclass(frozen=True)
class _KeptLesson:
    lessons: _KeptLessons
    chosen: Tensor
    """Numbers of the whole batch's pictures."""
    part: slice

    @property
    def images(self) -> Tensor:
        return torch.from_numpy(self.lessons.dataset.images[self.chosen[self.part].numpy()])

    @property
    def latents(self) -> Tensor:
        return self.lessons.latents[self.chosen[self.part]]

    def tokens(self, generator: Generator) -> Tensor:
        return self.lessons.deck.deal(self.chosen, generator)[self.part]


class _StreamedLessons:
    """Lessons of a stream, which decodes no more than the part that is asked for."""

    def __init__(
        self, run: RunConfig, config: StageConfig, folder: Path, seed: int, dropout: float
    ) -> None:
        self._batches = StreamedBatches(open_stream(run.data, seed, _size(run, config)), config)
        self.vae: Any = autoencoder.load(folder / "vae").to(parallel.state().device)
        self.words = tokenizer.load(folder / "tokenizer")
        self.batch, self.dropout = config.batch, dropout

    def __call__(self, step: int, part: slice, generator: Generator) -> Lesson:
        return _StreamedLesson(self, *self._batches(step, part), part)


@dataclass(frozen=True)
class _StreamedLesson:
    lessons: _StreamedLessons
    images: Tensor
    captions: list[str]
    part: slice

    @property
    def latents(self) -> Tensor:
        return autoencoder.encode_on_device(self.lessons.vae, self.images)

    def tokens(self, generator: Generator) -> Tensor:
        drop = torch.rand(self.lessons.batch, generator=generator) < self.lessons.dropout
        dropped = drop[self.part].tolist()
        texts = ["" if empty else text for text, empty in zip(self.captions, dropped, strict=True)]
        return tokenizer.encode(self.lessons.words, texts)
