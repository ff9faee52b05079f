"""Whole images of several models in turn, through the pipeline that workers draw with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.db.outcomes import PhaseTimes
from shared.domain.prompts import ImageSettings
from shared.domain.sampling import SamplerSettings, one_step
from shared.errors import ConfigurationError
from shared.models.card import ModelCard
from worker.backends.base import BackendRecord
from worker.bench.comparison import ModelTimes
from worker.devices import Device
from worker.loading import load_pipeline
from worker.pipeline import Pipeline
from worker.retry import is_out_of_memory

PROMPT = "a red apple"
SEED = 0

Watch = Callable[[str, int], None]
"""Told what begins, and how many of `all_steps` have been taken."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What is the same for every model."""

    device: Device
    backend: str
    precision: str
    threads: int
    """Of the processor; 0 takes one a core."""
    side: int
    """Width and height of every image, in pixels."""
    rounds: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A model and what its images took."""

    card: ModelCard
    drawn_by: BackendRecord
    times: ModelTimes


def all_steps(cards: Sequence[ModelCard], rounds: int) -> int:
    """Return how often denoisers run in `measure`, one step of warming up each included."""
    return sum(1 + rounds * card.sampler.evaluations for card in cards)


def measure(cards: Sequence[ModelCard], bench: Bench, watch: Watch) -> list[Measured]:
    """Draw an image with each model in every round, each by its model's own sampler.

    All models are loaded before the first round, so that in each round they follow one
    another at once: what slows the machine down for a while slows all of them.

    Args:
        cards: of models for the same backend.
        bench: where and how.
        watch: told of the progress.

    Raises:
        ConfigurationError: a model is broken, or an image does not fit the device's memory.
    """
    try:
        return _measure(cards, bench, watch)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise ConfigurationError(
            f"{bench.device} has no memory left for {' and '.join(card.name for card in cards)} "
            f"at {bench.side} x {bench.side} pixels",
            hint="Both are loaded at once. A smaller --size takes less.",
        ) from None


def _measure(cards: Sequence[ModelCard], bench: Bench, watch: Watch) -> list[Measured]:
    pipelines = []
    for card in cards:
        watch(f"loading {card.name}", 0)
        pipelines.append(_load(card, bench))
    taken = 0
    for card, pipeline in zip(cards, pipelines, strict=True):
        watch(f"warming up {card.name}", taken)
        first = one_step(card.sampler)
        _draw(pipeline, first, bench.side)
        taken += first.evaluations
    times: list[list[PhaseTimes]] = [[] for _ in cards]
    for index in range(bench.rounds):
        for card, pipeline, its_times in zip(cards, pipelines, times, strict=True):
            watch(f"round {index + 1} of {bench.rounds}: {card.name}", taken)
            its_times.append(_draw(pipeline, card.sampler, bench.side))
            taken += card.sampler.evaluations
    return [
        Measured(card, pipeline.describe(), ModelTimes(card.sampler.evaluations, its_times))
        for card, pipeline, its_times in zip(cards, pipelines, times, strict=True)
    ]


def _load(card: ModelCard, bench: Bench) -> Pipeline:
    return load_pipeline(
        card,
        bench.device,
        backend=bench.backend,
        precision=bench.precision,
        threads=bench.threads,
    )


def _draw(pipeline: Pipeline, sampler: SamplerSettings, side: int) -> PhaseTimes:
    job = ImageSettings(prompt=PROMPT, seed=SEED, width=side, height=side, **sampler.model_dump())
    # Only some models have a safety checker, so it is no part of what is compared.
    return pipeline.draw([job], check_safety=False)[0].times
