"""A picture of a search: all members that were scored, the front, and what it is compared to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import InputError
from training.search.pareto import Found, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES = (8, 5.5)
DOTS_PER_INCH = 150
FRONT_COLOUR, MARK_COLOURS = "#d62728", ("#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e")


def plot_front(report: Report, path: Path) -> None:
    """Write a picture as PNG or SVG, whichever the name says.

    Raises:
        InputError: the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 11}):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        _draw(axes, report)
        try:
            figure.savefig(path, dpi=DOTS_PER_INCH)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from None


def _draw(axes: Axes, report: Report) -> None:
    others, best = _points(report.others), _points(report.front)
    axes.scatter(*others, s=12, color="#999999", alpha=0.5, linewidths=0, label="scored")
    axes.plot(*best, "o-", color=FRONT_COLOUR, markersize=5, linewidth=1, label="Pareto front")
    for index, (name, one) in enumerate(report.marks.items()):
        colour = MARK_COLOURS[index % len(MARK_COLOURS)]
        axes.scatter(*_points([one]), s=160, marker="*", color=colour, zorder=3, label=name)
    across, up = report.axes
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    axes.legend()


def _points(found: Iterable[Found]) -> tuple[list[float], list[float]]:
    points = [Report.point(one) for one in found]
    return [across for across, _ in points], [up for _, up in points]
