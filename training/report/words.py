"""Figures and tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from training.quality.intervals import Interval


def interval(found: Interval, *, signed: bool = False) -> str:
    """Return a mean with its 95 % interval: "1.23 (1.1 to 1.4)"."""
    sign = "+" if signed else ""
    mean, low, high = (f"{value:{sign}.3g}" for value in (found.mean, found.low, found.high))
    return f"{mean} ({low} to {high})"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is words, the others are figures."""
    rules = ["---", *["---:"] * (len(headings) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in [headings, rules, *rows])
