"""What each way of drawing costs and gains."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from shared.domain.quality import Shortcuts
from training.data import Dataset
from training.quality.distance import Distance, kernel_distance
from training.quality.drawing import Drawn
from training.quality.features import NETWORK, WEIGHTS_SHA256, features
from training.quality.fidelity import Asked, Hits, hits
from training.quality.intervals import Interval, Values, mean_interval
from training.quality.likeness import compare
from training.quality.variants import EXACT, Variant

RECALLS = ("concept", "concept_among_five", "style")


class Measures(BaseModel):
    """One way of drawing, beside the exact one of the same prompts and seeds."""

    model_config = ConfigDict(frozen=True)

    name: str
    shortcuts: Shortcuts
    folder: str | None
    speed: float
    """How many times as fast as the exact way, the median over batches drawn in turn."""
    speed_quartiles: tuple[float, float]
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
    noise_levels: list[float]
    variants: list[Measures]


def measure(
    variants: Sequence[Variant],
    drawn: Mapping[str, Drawn],
    asked: Sequence[Asked],
    dataset: Dataset,
    network: Any,
) -> list[Measures]:
    """Measure every way of drawing; the exact one is among them.

    Args:
        variants: the ways.
        drawn: what they gave, by name.
        asked: the questions, in the order of the drawings.
        dataset: the pictures that the model learned from.
        network: of the features.
    """
    real = features(network, dataset.images)
    judged = {
        variant.name: _judge(drawn[variant.name], asked, dataset, real, network)
        for variant in variants
    }
    return [_measures(variant, drawn, judged) for variant in variants]


def _judge(
    drawn: Drawn, asked: Sequence[Asked], dataset: Dataset, real: Tensor, network: Any
) -> tuple[Hits, Distance]:
    distance = kernel_distance(features(network, drawn.pictures), real)
    return hits(drawn.pictures, asked, dataset), distance


def _measures(
    variant: Variant, drawn: Mapping[str, Drawn], judged: Mapping[str, tuple[Hits, Distance]]
) -> Measures:
    its, exact = drawn[variant.name], drawn[EXACT]
    (its_hits, distance), (exact_hits, exact_distance) = judged[variant.name], judged[EXACT]
    likeness = compare(its.pictures, exact.pictures)
    gains = [
        before / after for before, after in zip(exact.batch_seconds, its.batch_seconds, strict=True)
    ]
    return Measures(
        name=variant.name,
        shortcuts=variant.shortcuts,
        folder=variant.folder.name if variant.folder else None,
        speed=statistics.median(gains),
        speed_quartiles=_quartiles(gains),
        psnr=mean_interval(likeness.psnr),
        ssim=mean_interval(likeness.ssim),
        off=mean_interval(likeness.off),
        recall={name: mean_interval(_of(its_hits, name)) for name in RECALLS},
        recall_change={
            name: mean_interval(_of(its_hits, name) - _of(exact_hits, name)) for name in RECALLS
        },
        distance=_around(distance.value, distance.influences),
        distance_change=_around(
            distance.value - exact_distance.value,
            distance.influences - exact_distance.influences,
        ),
    )


def _of(hits_of_one: Hits, name: str) -> Values:
    values: Values = getattr(hits_of_one, name)
    return values


def _around(value: float, influences: Values) -> Interval:
    return mean_interval(influences - influences.mean()).moved(value)


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
