"""Figures as Prometheus has them: in seconds and dollars, with labels of few values."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric

OTHER = "other"
"""Of what has any value that somebody likes: each would be a figure of its own."""
MOST_NAMES = 50
"""Models, and reasons of failures, that have figures of their own."""

Values = Mapping[tuple[str, ...], float]
"""By the values of labels."""


def gauge(name: str, help_text: str, value: float) -> Metric:
    """Make a figure without labels that goes up and down."""
    return GaugeMetricFamily(name, help_text, value=value)


def counter(name: str, help_text: str, value: float) -> Metric:
    """Make a figure without labels that only goes up; its name ends in ``_total`` by itself."""
    return CounterMetricFamily(name, help_text, value=value)


def gauges(name: str, help_text: str, labels: Sequence[str], values: Values) -> Metric:
    """Make figures that go up and down."""
    return _filled(GaugeMetricFamily(name, help_text, labels=labels), values)


def counters(name: str, help_text: str, labels: Sequence[str], values: Values) -> Metric:
    """Make figures that only go up; the name ends in ``_total`` by itself."""
    return _filled(CounterMetricFamily(name, help_text, labels=labels), values)


def histograms(
    name: str,
    help_text: str,
    labels: Sequence[str],
    bounds: Sequence[float],
    counts: Mapping[tuple[str, ...], Sequence[int]],
    sums: Values,
) -> Metric:
    """Make figures of how many there are up to each of some bounds.

    Args:
        name: the family's.
        help_text: what it is.
        labels: their names.
        bounds: in order; the last one is infinite.
        counts: how many there are between each bound and the one before, by labels.
        sums: of what was counted, by labels.
    """
    family = HistogramMetricFamily(name, help_text, labels=labels)
    names = ["+Inf" if bound == math.inf else str(bound) for bound in bounds]
    for key, between in sorted(counts.items()):
        up_to = accumulate(between)
        family.add_metric(key, list(zip(names, up_to, strict=True)), sums[key])
    return family


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Values) -> Metric:
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def summed(pairs: Iterable[tuple[tuple[str, ...], float]]) -> Values:
    """Add up what has the same labels."""
    sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for key, value in pairs:
        sums[key] += value
    return sums


def bounded(names: Iterable[str]) -> Callable[[str], str]:
    """Let the first 50 names, in the order that is given, be labels; all others are one.

    Args:
        names: those that matter most first; any number, some perhaps twice.
    """
    kept: dict[str, None] = {}
    for name in names:
        if len(kept) == MOST_NAMES:
            break
        kept.setdefault(name)
    return lambda name: name if name in kept else OTHER
