"""Figures as Prometheus has them: in seconds and dollars, with labels of few values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
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
