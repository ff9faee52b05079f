"""What each way of drawing costs and gains."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from shared.domain.quality import Shortcuts
from training.data.dataset import Dataset, Pictures
from training.quality.distance import kernel_distance
from training.quality.features import NETWORK, WEIGHTS_SHA256, features
from training.quality.fidelity import Asked, Hits, hits
from training.quality.intervals import Interval, Statistic, Values, mean_interval
from training.quality.likeness import compare
from training.quality.variants import EXACT, Variant

RECALLS = ("concept", "concept_among_five", "style")


class Gain(BaseModel):
    """How many times as fast as another way, over batches that both drew in turn."""

    model_config = ConfigDict(frozen=True)

    over: str
    """The other way."""
    median: float
    quartiles: tuple[float, float]


class Measures(BaseModel):
    """One way of drawing, beside the exact one of the same prompts and seeds."""

    model_config = ConfigDict(frozen=True)

    name: str
    shortcuts: Shortcuts
    is_exported: bool
    gain: Gain
    """Over the exact way."""
    backend_gain: Gain | None
    """Over the way without a loss on the same backend; None where that was not timed."""
    batch_seconds: list[float]
    """Of each timed batch, from noise to pixels, without its text."""
    psnr: Interval
    ssim: Interval
    off: Interval
    recall: Mapping[str, Interval]
    recall_change: Mapping[str, Interval]
    """Of the same questions, one by one: narrower than what the two recalls tell."""
    distance: Interval
    distance_change: Interval

    @property
    def is_free(self) -> bool:
        """Whether neither recall nor distance is worse for certain than the exact way's."""
        worse_recall = any(change.high < 0 for change in self.recall_change.values())
        return not worse_recall and self.distance_change.low <= 0


class Report(BaseModel):
    """All ways of drawing with one model."""

    model_config = ConfigDict(frozen=True)

    model: str
    weights_sha256: str | None
    data_sha256: str
    feature_network: str = NETWORK
    feature_weights_sha256: str = WEIGHTS_SHA256
    drawings: int
    batch: int
    processor: str
    threads: int
    noise_levels: list[float]
    variants: list[Measures]


def measure(
    variants: Sequence[Variant],
    drawn: Mapping[str, Pictures],
    rounds: Sequence[Mapping[str, float]],
    asked: Sequence[Asked],
    dataset: Dataset,
    network: Any,
) -> list[Measures]:
    """Measure every way of drawing; the exact one is among them.

    Args:
        variants: the ways.
        drawn: their pictures (N, H, W, 3), uint8, in the order of the questions, by name.
        rounds: seconds that each way took for the same batch, by name.
        asked: the questions.
        dataset: the pictures that the model learned from.
        network: of the features.
    """
    real = features(network, dataset.images)
    judged = {name: _judge(drawn[name], asked, dataset, real, network) for name in drawn}
    return [_measures(variant, drawn, rounds, judged) for variant in variants]


def gain(rounds: Sequence[Mapping[str, float]], name: str, over: str) -> Gain:
    """Return how many times as fast as another a way was, round by round."""
    ratios = [taken[over] / taken[name] for taken in rounds]
    return Gain(over=over, median=statistics.median(ratios), quartiles=_quartiles(ratios))


def _judge(
    drawn: Pictures, asked: Sequence[Asked], dataset: Dataset, real: Tensor, network: Any
) -> tuple[Hits, Statistic]:
    distance = kernel_distance(features(network, drawn), real)
    return hits(drawn, asked, dataset), distance


def _measures(
    variant: Variant,
    drawn: Mapping[str, Pictures],
    rounds: Sequence[Mapping[str, float]],
    judged: Mapping[str, tuple[Hits, Statistic]],
) -> Measures:
    name, reference = variant.name, variant.reference
    (its_hits, distance), (exact_hits, exact_distance) = judged[name], judged[EXACT]
    likeness = compare(drawn[name], drawn[EXACT])
    return Measures(
        name=name,
        shortcuts=variant.shortcuts,
        is_exported=variant.folder is not None,
        gain=gain(rounds, name, EXACT),
        backend_gain=gain(rounds, name, reference) if reference in rounds[0] else None,
        batch_seconds=[taken[name] for taken in rounds],
        psnr=mean_interval(likeness.psnr),
        ssim=mean_interval(likeness.ssim),
        off=mean_interval(likeness.off),
        recall={kind: mean_interval(_of(its_hits, kind)) for kind in RECALLS},
        recall_change={
            kind: mean_interval(_of(its_hits, kind) - _of(exact_hits, kind)) for kind in RECALLS
        },
        distance=distance.interval,
        distance_change=(distance - exact_distance).interval,
    )


def _of(hits_of_one: Hits, name: str) -> Values:
    values: Values = getattr(hits_of_one, name)
    return values


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
