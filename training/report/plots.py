"""Pictures of the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training.evaluation.measures import KERNEL, SOLVER
from training.evaluation.report import Report
from training.quality.intervals import Interval
from training.report.courses import STEPS
from training.report.steps import FAMILIES, find

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS = (KERNEL, "R@1", SOLVER)
_LINES = ("--", "-", ":")
"""Of models, in the report's order."""


def plot_steps(report: Report, path: Path) -> None:
    """Draw measures against steps, a line for each family of samplers and each model."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, measure in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        _plot_measure(panel, report, measure)
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=110)


def _plot_measure(panel: Axes, report: Report, measure: str) -> None:
    models = list(dict.fromkeys(one.model for one in report.contestants))
    for number, family in enumerate(FAMILIES):
        for model, line in zip(models, _LINES, strict=False):
            points = [
                (steps, one.measures[measure].value)
                for steps in STEPS
                if (one := find(report, model, family, steps)) is not None
            ]
            if points:
                _plot_line(panel, points, f"C{number}", line, f"{family}, {model}")
    panel.set(xscale="log", xlabel="steps (runs of the denoiser)", title=measure)
    panel.set_xticks(STEPS, [str(steps) for steps in STEPS])
    panel.minorticks_off()
    panel.grid(alpha=0.3)


def _plot_line(
    panel: Axes, points: Sequence[tuple[int, Interval]], colour: str, line: str, label: str
) -> None:
    panel.errorbar(
        [steps for steps, _ in points],
        [value.mean for _, value in points],
        yerr=[
            [value.mean - value.low for _, value in points],
            [value.high - value.mean for _, value in points],
        ],
        color=colour,
        linestyle=line,
        capsize=2,
        label=label,
    )
