"""A report on a terminal of 80 columns."""

from __future__ import annotations

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from training.evaluation.report import Report
from training.quality.intervals import Interval


def show(report: Report, console: Console) -> None:
    """Print a report's figures."""
    console.print(
        Text(
            f"{report.drawings} drawings each, {report.questions}, seeds from {report.seed}; "
            f"{report.pictures} pictures of the data; 95 % intervals.\n"
            f"Distances are on {report.feature_network}'s features: not comparable to those on "
            "Inception's or CLIP's."
        )
    )
    console.print(Group(_ceiling(report), *(_measure(report, name) for name in _names(report))))


def _names(report: Report) -> list[str]:
    return list(report.contestants[0].measures)


def _measure(report: Report, name: str) -> Table:
    table = _table(name, "from the first")
    for one in report.contestants:
        measure = one.measures[name]
        changed = "" if measure.change is None else _words(measure.change, sign="+")
        table.add_row(one.name, _words(measure.value), changed)
    return table


def _ceiling(report: Report) -> Table:
    table = _table("the scorer on real pictures, R@1", "R@5")
    for style, found in report.ceiling.items():
        table.add_row(style, *(_words(value) for value in found.values()))
    return table


def _table(name: str, last: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), width=79)
    table.add_column(Text(name, style="bold"), ratio=1, overflow="fold")
    table.add_column("", width=22)
    table.add_column(last, width=23)
    return table


def _words(interval: Interval, sign: str = "") -> str:
    mean, low, high = (
        f"{value:{sign}.3g}" for value in (interval.mean, interval.low, interval.high)
    )
    return f"{mean} ({low} to {high})"
