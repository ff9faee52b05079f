"""Two models beside each other: how well they draw, and how fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from training.evaluation.report import ContestantReport, Measure, Report
from training.report.speed import Speed, describe
from training.report.steps import SHOWN, kind_of
from training.report.words import interval, table


@dataclass(frozen=True)
class Duel:
    """Two models, measured in the same way."""

    report: Report
    """Of the yardstick first, the other second."""
    speeds: Mapping[str, Speed]
    """By engine, of models named as in the report."""

    @property
    def yardstick(self) -> ContestantReport:
        """What the other is compared with."""
        return self.report.contestants[0]

    @property
    def other(self) -> ContestantReport:
        """Who is compared."""
        return self.report.contestants[1]


def duel_tables(duel: Duel) -> str:
    """Return quality and speed of one model beside another."""
    names = duel.yardstick.model, duel.other.model
    rows = [
        [measure, interval(first.value), interval(second.value), _changed(second)]
        for measure, first in duel.yardstick.measures.items()
        if kind_of(measure) in SHOWN
        for second in [duel.other.measures[measure]]
    ]
    timed = [
        [engine, name, *describe(speed, name), _gain(speed, names[0], name)]
        for engine, speed in duel.speeds.items()
        for name in names
    ]
    headings = ["engine", "model", "parameters", "GMAC", "ms a step and image", "as fast"]
    return table(["measure", *names, "difference"], rows) + "\n" + table(headings, timed)


def _changed(measure: Measure) -> str:
    return "" if measure.change is None else interval(measure.change, signed=True)


def gains(duel: Duel) -> str:
    """Say how many times as fast the other is, engine by engine."""
    names = duel.yardstick.model, duel.other.model
    ratios = [(engine, speed.ratio(*names)[0]) for engine, speed in duel.speeds.items()]
    return ", ".join(f"{ratio:.2f} times with {engine}" for engine, ratio in ratios)


def _gain(speed: Speed, yardstick: str, name: str) -> str:
    middle, low, high = speed.ratio(yardstick, name)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
