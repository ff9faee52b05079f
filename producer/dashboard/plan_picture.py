"""A plan as a picture: what fleets cost against when they are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from producer.dashboard.scales import Scale, round_ticks, time_ticks
from producer.plan_plot import HEADROOM, IN_SIGHT
from producer.planning.fleet import Fleet
from producer.planning.plan import Plan
from shared.domain.money import NANOSECONDS

LEFT, RIGHT = 3, 97
TOP, BOTTOM = 4, 90
AROUND = 1.15
"""Times that are shown beside the first and the last."""

Line = tuple[float, float, float, float]
"""From where to where: x, y, x, y."""


@dataclass(frozen=True, slots=True)
class Point:
    """A fleet."""

    x: float
    y: float
    fleet: Fleet


@dataclass(frozen=True, slots=True)
class PlanPicture:
    """Places in per cent of the width and the height, from the left and from the top."""

    frontier: Sequence[Point]
    lines: Sequence[Line]
    """Between the points of the frontier."""
    chosen: Point
    deadline: float
    budget: float | None
    """None if there is none, or if it is out of sight."""
    is_budget_out_of_sight: bool
    times: Sequence[tuple[float, str]]
    amounts: Sequence[tuple[float, int]]
    """Nano-dollars."""


def picture_of(plan: Plan) -> PlanPicture:
    """Draw a plan: time from left to right by its logarithm, and cost from 0 up."""
    chosen = plan.fleet or plan.soonest
    fleets = [*plan.frontier, chosen]
    seconds = [fleet.finish_ns / NANOSECONDS for fleet in fleets]
    seconds.append(plan.deadline_ns / NANOSECONDS)
    across = Scale(min(seconds) / AROUND, max(seconds) * AROUND, LEFT, RIGHT, is_logarithmic=True)
    highest = max(1, *(fleet.nanodollars for fleet in fleets))
    # A line far above would press the frontier flat.
    is_far = plan.budget is not None and plan.budget > IN_SIGHT * highest
    if plan.budget is not None and not is_far:
        highest = max(highest, plan.budget)
    down = Scale(0, HEADROOM * highest, BOTTOM, TOP)

    def point(fleet: Fleet) -> Point:
        return Point(
            across.place(fleet.finish_ns / NANOSECONDS), down.place(fleet.nanodollars), fleet
        )

    frontier = [point(fleet) for fleet in plan.frontier]
    return PlanPicture(
        frontier,
        [(one.x, one.y, other.x, other.y) for one, other in pairwise(frontier)],
        point(chosen),
        across.place(plan.deadline_ns / NANOSECONDS),
        None if plan.budget is None or is_far else down.place(plan.budget),
        is_far,
        [(across.place(at), name) for at, name in time_ticks(across.low, across.high)],
        [(down.place(amount), amount) for amount in round_ticks(highest)],
    )
