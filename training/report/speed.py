"""How long one step takes with each of some models, on the worker's own engine.

A step is guided if the model's own sampler guides.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

import torch
from pydantic import BaseModel, ConfigDict

from shared.models.card import ModelCard
from worker.bench.speed.contestants import denoised_rows
from worker.devices import Device, processor_name
from worker.loading import load_pipeline
from worker.models.measure import measure


class ModelSpeed(BaseModel):
    """What a step of one model takes."""

    model_config = ConfigDict(frozen=True)

    parameters: int
    """Of the denoiser."""
    gmacs: float
    """Of one row of an image; a guided step runs two, another one."""
    seconds: tuple[float, ...]
    """Of a step of the batch, round by round."""


class Speed(BaseModel):
    """Models timed in turn: what slows the machine down for a while slows all of them."""

    model_config = ConfigDict(frozen=True)

    processor: str
    threads: int
    batch: int
    models: Mapping[str, ModelSpeed]

    def ratio(self, slow: str, quick: str) -> tuple[float, float, float]:
        """Return how many times as fast one model is as another: median and quartiles."""
        pairs = zip(self.models[slow].seconds, self.models[quick].seconds, strict=True)
        low, middle, high = statistics.quantiles([mine / theirs for mine, theirs in pairs], n=4)
        return middle, low, high


@torch.inference_mode()
def time_steps(
    cards: Mapping[str, ModelCard],
    *,
    backend: str,
    batch: int,
    threads: int,
    rounds: int,
    repeats: int = 4,
) -> Speed:
    """Time one step of every model in each round, in an order that moves on.

    Args:
        cards: of models by name.
        backend: that runs them; onnxruntime takes folders that were exported for it.
        batch: images of a step.
        threads: of the processor.
        rounds: two at least.
        repeats: steps of a round whose median counts.

    Raises:
        ConfigurationError: a model is broken.
    """
    steps = {name: _Step(card, backend, batch, threads) for name, card in cards.items()}
    for step in steps.values():
        step()
    taken: dict[str, list[float]] = {name: [] for name in cards}
    names = list(cards)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken[name].append(statistics.median(_seconds(steps[name]) for _ in range(repeats)))
    return Speed(
        processor=processor_name(),
        threads=threads,
        batch=batch,
        models={name: _speed(cards[name], taken[name]) for name in names},
    )


class _Step:
    """One step of a model that is loaded."""

    def __init__(self, card: ModelCard, backend: str, batch: int, threads: int) -> None:
        self._backend = load_pipeline(
            card, Device.parse("cpu"), backend=backend, threads=threads
        ).backend
        generator = torch.Generator().manual_seed(0)
        shape = (batch, *self._backend.latent_shape(card.width, card.height))
        self._noisy = torch.randn(shape, generator=generator)
        size = batch * denoised_rows(card), card.max_prompt_tokens
        tokens = torch.randint(1, 100, size, generator=generator)
        self._contexts = self._backend.encode_text(tokens)
        self._timestep = torch.full((batch,), 500)

    def __call__(self) -> None:
        self._backend.denoise(self._noisy, self._timestep, self._contexts)


def _seconds(step: _Step) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def _speed(card: ModelCard, seconds: Sequence[float]) -> ModelSpeed:
    denoiser = next(work for work in measure(card) if work.component == "denoiser")
    return ModelSpeed(parameters=denoiser.parameters, gmacs=denoiser.gmacs, seconds=tuple(seconds))


def describe(speed: Speed, name: str) -> tuple[str, str, str]:
    """Return a model's parameters, GMACs and milliseconds an image's step, as words."""
    one = speed.models[name]
    milliseconds = 1000 * statistics.median(one.seconds) / speed.batch
    return f"{one.parameters / 1e6:.2f} M", f"{one.gmacs:.3f}", f"{milliseconds:.2f}"
