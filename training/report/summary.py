"""What came out, in a few lines: each claim, and whether the measurements bear it out."""

from __future__ import annotations

from collections.abc import Sequence

from training.evaluation.measures import SOLVER
from training.evaluation.report import ContestantReport, Report
from training.report.courses import SEARCHED, SQUEEZED
from training.report.duel import Duel, gains
from training.report.steps import SHOWN, find, kind_of, verdict
from training.search.ranking import Ranking

GOAL_STEPS, GOAL_SPEED = 8, 1.73
"""Parity with sixteen plain steps at so few; a denoiser so many times as fast at equal quality."""


def summary(
    *,
    steps: Report,
    tuned: Sequence[Report],
    control: Report,
    distilled: Duel,
    again: Report,
    ranking: Ranking,
    contest: Duel,
) -> str:
    """Return a list of claims.

    Args:
        steps: of the model before and after fine-tuning; the first contestant is the model before
            with sixteen plain steps.
        tuned: of the fine-tuned model; the first contestant of each has plain steps.
        control: the model that was trained on at all noise levels first, the fine-tuned second.
        distilled: the shipped model, and its copy that draws without guidance.
        again: the shipped model first, what its run's file makes today second.
        ranking: of the proxy.
        contest: the layout that was not searched, and what was found.
    """
    lines = [
        *_on_steps(steps, "before fine-tuning"),
        *(line for report in tuned for line in _on_steps(report, "the shipped model")),
        _on_levels(control),
        _on_guidance(distilled),
        _on_the_same_again(again),
        _on_proxy(ranking),
        _on_architecture(contest),
    ]
    return "".join(f"- {line}\n" for line in lines)


def _on_steps(report: Report, which: str) -> list[str]:
    plain = report.contestants[0]
    return [
        f"{few} steps, {family}, against {plain.evaluations} plain ones, {which}: "
        f"{_outcome(found)}."
        for few in (10, GOAL_STEPS, 6, 4)
        for family in (SQUEEZED, SEARCHED)
        if (found := find(report, plain.model, family, few)) is not None
    ]


def _on_levels(control: Report) -> str:
    outcome = _outcome(control.contestants[1])
    return f"The solver's noise levels alone against all of them, trained equally long: {outcome}."


def _on_proxy(ranking: Ranking) -> str:
    proxy = ranking.agreement(lambda one: one.proxy.trained)
    return (
        f"The proxy ranks {len(ranking.members)} members that were trained by themselves: "
        f"Spearman {proxy.spearman:.2f} ({proxy.low:.2f} to {proxy.high:.2f})."
    )


def _on_guidance(distilled: Duel) -> str:
    return (
        "Distilled, so that it needs no guidance, against the shipped model with it: "
        f"as fast {gains(distilled)}; in quality {_outcome(distilled.other)}."
    )


def _on_the_same_again(again: Report) -> str:
    outcome = _outcome(again.contestants[1])
    return f"Made again by its run's file, against the shipped model: {outcome}."


def _on_architecture(contest: Duel) -> str:
    return (
        f"What was found against {contest.yardstick.model}, trained alike: as fast "
        f"{gains(contest)} (the goal: {GOAL_SPEED} at equal quality); "
        f"in quality {_outcome(contest.other)}."
    )


def _outcome(one: ContestantReport) -> str:
    """Say in which measures of quality a contestant differs from the first one, at 95 %."""
    verdicts: dict[str, list[str]] = {}
    for name, measure in one.measures.items():
        kind = kind_of(name)
        if kind in SHOWN and kind != SOLVER and measure.change is not None:
            verdicts.setdefault(verdict(measure.change, kind), []).append(_of_part(name))
    told = [f"{words} in {', '.join(names)}" for words, names in verdicts.items() if words in _SURE]
    return "; ".join(told) if told else "no difference shown"


def _of_part(name: str) -> str:
    """Say "R@1 (train)" for "R@1, train", which in a list would be read as two."""
    measure, comma, part = name.partition(", ")
    return f"{measure} ({part})" if comma else name


_SURE = ("better", "worse")
