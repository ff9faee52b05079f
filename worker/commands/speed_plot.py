"""A picture of ``tenstep bench speed``: what an image takes, by part, by who draws it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shared.domain.money import NANOSECONDS
from shared.errors import InputError
from worker.commands.speed_view import by_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from worker.bench.speed.report import Report, Row

WIDTH_INCHES = 8
INCHES_A_ROW, INCHES_A_MODEL = 0.35, 1.1
DOTS_PER_INCH = 150
COLOURS = {"text encoder": "#2ca02c", "denoiser": "#1f77b4", "decoder": "#ff7f0e"}


def plot_speed(report: Report, path: Path) -> None:
    """Write a picture as SVG or PNG, whichever the name says.

    Raises:
        InputError: the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parts = list(by_model(report))
    heights = [INCHES_A_MODEL + INCHES_A_ROW * len(rows) for _, rows in parts]
    with mpl.rc_context({"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "tenstep"}):
        figure = Figure(figsize=(WIDTH_INCHES, sum(heights)), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights)
        for (axes,), (title, rows) in zip(grid, parts, strict=True):
            _draw(axes, title, rows)
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(COLOURS))
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        try:
            figure.savefig(path, dpi=DOTS_PER_INCH, metadata=metadata)
        except OSError as error:
            raise InputError(f"--plot {path}: {error.strerror or error}") from None


def _draw(axes: Axes, title: str, rows: list[Row]) -> None:
    names = [row.entry.title for row in rows]
    before = [0.0] * len(rows)
    for part, colour in COLOURS.items():
        taken = [_seconds(row)[part] for row in rows]
        axes.barh(names, taken, left=before, color=colour, label=part)
        before = [start + length for start, length in zip(before, taken, strict=True)]
    axes.invert_yaxis()
    axes.set_title(title)
    axes.set_xlabel("seconds an image")
    axes.grid(axis="x", alpha=0.3)


def _seconds(row: Row) -> dict[str, float]:
    times = row.times
    taken = (times.text_encode_ns, times.denoise_ns, times.decode_ns)
    return dict(zip(COLOURS, (ns / NANOSECONDS for ns in taken), strict=True))
