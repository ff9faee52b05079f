"""What searches came to, for programs and for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from training.grids.search import BASELINE_STEPS, Measured, Outcome
from training.quality.intervals import Interval


def document(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as plain values; intervals are mean, low and high at 95 %."""
    return {
        "timesteps": list(outcome.found.grid),
        "evaluations": outcome.found.evaluations,
        "is_interrupted": outcome.found.is_interrupted,
        "errors": {name: _measured(way) for name, way in outcome.ways.items()},
    }


def table(outcomes: Mapping[int, Outcome]) -> Table:
    """Return a table of the errors, with 95 % intervals."""
    shown = Table(
        *("steps", "grid", "searched with", "held out"),
        *(f"held out, less {BASELINE_STEPS} plain", "timesteps"),
    )
    for steps, outcome in outcomes.items():
        for name, way in outcome.ways.items():
            shown.add_row(
                str(steps),
                name,
                f"{way.searched_with:.4f}",
                _words(way.held_out),
                _words(way.over_baseline),
                " ".join(map(str, way.grid)),
            )
    return shown


def _measured(way: Measured) -> dict[str, Any]:
    return {
        "timesteps": list(way.grid),
        "searched_with": way.searched_with,
        "held_out": _numbers(way.held_out),
        f"held_out_less_{BASELINE_STEPS}_plain": _numbers(way.over_baseline),
    }


def _numbers(interval: Interval) -> list[float]:
    return [interval.mean, interval.low, interval.high]


def _words(interval: Interval) -> str:
    return f"{interval.mean:.4f} ({interval.low:.4f} to {interval.high:.4f})"
