"""Quality against steps, before and after fine-tuning: which sampler needs how many."""

from __future__ import annotations

from collections.abc import Sequence

from training.evaluation.measures import FRECHET, GAUSSIAN, KERNEL, PRECISION, RECALL, SOLVER
from training.evaluation.report import ContestantReport, Report
from training.quality.intervals import Interval
from training.report.courses import DDIM, PLAIN, SEARCHED, SQUEEZED, STEPS, family_of
from training.report.words import interval, table

FAMILIES = (DDIM, PLAIN, SQUEEZED, SEARCHED)
SHOWN = (KERNEL, GAUSSIAN, FRECHET, PRECISION, RECALL, "R@1", "R@5", SOLVER)
LESS_IS_BETTER = (KERNEL, GAUSSIAN, FRECHET, SOLVER)


def tables(report: Report) -> str:
    """Return a table for each measure: a row for each number of steps, a column for each family."""
    models = list(dict.fromkeys(one.model for one in report.contestants))
    parts = []
    for measure in SHOWN:
        for model in models:
            rows = [
                [str(steps), *(_cell(report, model, family, steps, measure) for family in FAMILIES)]
                for steps in STEPS
            ]
            parts.append(f"\n**{measure}**, {model}\n\n" + table(["steps", *FAMILIES], rows))
    return "".join(parts)


def kind_of(measure: str) -> str:
    """Return what is measured, without the part of the data that it is measured on."""
    return measure.split(",", maxsplit=1)[0]


def find(report: Report, model: str, family: str, steps: int) -> ContestantReport | None:
    """Return the contestant of a model, a family and a number of the denoiser's runs."""
    for one in report.contestants:
        if (one.model, family_of(one.sampler), one.evaluations) == (model, family, steps):
            return one
    return None


def _cell(report: Report, model: str, family: str, steps: int, measure: str) -> str:
    found = find(report, model, family, steps)
    return "" if found is None else interval(found.measures[measure].value)


def verdict(change: Interval, measure: str) -> str:
    """Say what a difference from the baseline means, at 95 %."""
    if change.holds_zero:
        return "no difference shown"
    is_lower = change.high < 0
    return "better" if is_lower == (measure in LESS_IS_BETTER) else "worse"


def claims(report: Report, asked: Sequence[tuple[str, ContestantReport]]) -> str:
    """Return a table of differences from the report's first contestant, with what they mean."""
    first = report.contestants[0]
    rows = [
        [name, measure, interval(change, signed=True), verdict(change, kind)]
        for name, one in asked
        for kind in SHOWN
        for measure, measured in one.measures.items()
        if kind_of(measure) == kind and (change := measured.change) is not None
    ]
    return table([f"against {first.name}", "measure", "difference", "at 95 %"], rows)
