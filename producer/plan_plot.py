"""A picture of a plan: what a fleet costs against when it is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from producer.amounts import usd
from producer.plan_words import dollars, duration, fleet_name
from shared.domain.money import NANOSECONDS
from shared.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from producer.planning.fleet import Fleet
    from producer.planning.plan import Plan

INCHES = (8, 6)
DOTS_PER_INCH = 150
HEADROOM = 1.1
IN_SIGHT = 2
CHOSEN, LINE, LIMIT = "#d62728", "#1f77b4", "#555555"
TIMES = {
    "s": (1, 2, 5, 10, 15, 30),
    "min": (1, 2, 5, 10, 15, 30),
    "h": (1, 2, 3, 6, 12),
    "d": (1, 2, 4, 7, 14, 30, 60, 120, 365, 730, 1460, 3650),
}
SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}


def plot_plan(plan: Plan, model: str, path: Path) -> None:
    """Write a picture as SVG or PNG, whichever the name says.

    Raises:
        InputError: the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(
        {
            "font.size": 10,
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "tenstep",  # the same plan gives the same file
            "text.parse_math": False,  # a dollar is a dollar
        }
    ):
        figure = Figure(figsize=INCHES, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw(axes, plan, model)
        figure.legend(loc="outside lower center", ncols=2)
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        try:
            figure.savefig(path, dpi=DOTS_PER_INCH, metadata=metadata)
        except OSError as error:
            raise InputError(f"--plot {path}: {error.strerror or error}") from None


def _draw(axes: Axes, plan: Plan, model: str) -> None:
    axes.plot(
        [_seconds(fleet) for fleet in plan.frontier],
        [_on_axis(fleet.nanodollars) for fleet in plan.frontier],
        color=LINE,
        marker="o",
        markersize=4,
        label="cheapest fleets by other deadlines",
    )
    _mark(axes, plan.fleet or plan.soonest, "the cheapest" if plan.fleet else "the soonest")
    axes.set_title(f"{plan.work.total:,} images of {model}")
    axes.set_xlabel("time from the start to the last image (logarithmic)")
    axes.set_ylabel("cost in US dollars")
    _limits(axes, plan)
    axes.grid(alpha=0.3)
    _time_axis(axes)


def _limits(axes: Axes, plan: Plan) -> None:
    deadline = f"deadline, {duration(plan.deadline_ns)}"
    axes.axvline(plan.deadline_ns / NANOSECONDS, color=LIMIT, linestyle="--", label=deadline)
    highest = max(fleet.nanodollars for fleet in [*plan.frontier, plan.fleet or plan.soonest])
    if plan.budget is not None:
        max_cost = f"max cost, {dollars(plan.budget)}"
        # A line far above would press the frontier flat.
        if plan.budget > IN_SIGHT * highest:
            max_cost += ", out of sight above"
        else:
            highest = max(highest, plan.budget)
        axes.axhline(_on_axis(plan.budget), color=LIMIT, linestyle=":", label=max_cost)
    axes.set_ylim(0, HEADROOM * _on_axis(max(1, highest)))


def _mark(axes: Axes, fleet: Fleet, what: str) -> None:
    devices = fleet_name(fleet).replace(" + ", "\n+ ")
    axes.plot(
        [_seconds(fleet)],
        [_on_axis(fleet.nanodollars)],
        color=CHOSEN,
        marker="*",
        markersize=14,
        linestyle="none",
        zorder=3,
        label=f"{what}: {dollars(fleet.nanodollars)}, {duration(fleet.finish_ns)}\n{devices}",
    )


def _time_axis(axes: Axes) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    axes.set_xscale("log")
    begin, end = axes.get_xlim()
    ticks = {
        number * SECONDS[unit]: f"{number} {unit}"
        for unit, numbers in TIMES.items()
        for number in numbers
        if begin <= number * SECONDS[unit] <= end
    }
    axes.set_xticks(list(ticks), labels=list(ticks.values()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _seconds(fleet: Fleet) -> float:
    return fleet.finish_ns / NANOSECONDS


def _on_axis(amount: int) -> float:
    """Turn nano-dollars into dollars that are only looked at."""
    return float(usd(amount))
