"""A plan: the fleet to hire for a piece of work, and what else could be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from producer.planning.fleet import Choice, Fleet, Problem, choice_of, make_fleet, make_problem
from producer.planning.frontier import (
    Bought,
    bought,
    by_itself,
    frontier,
    soonest_within,
    without_deadline,
)
from producer.planning.offers import Offer, Work
from producer.planning.search import cheapest, soonest

NEAREST = 3


@dataclass(frozen=True, slots=True)
class Remedy:
    """What a budget allows that the deadline does not."""

    cheapest: Fleet
    """Without a deadline; it may cost more than the budget."""
    soonest: Fleet | None
    """Of the fleets within the budget; None if there is none."""
    bought: Bought | None
    """What the budget buys if it is too small for all images."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to hire for some work by a deadline."""

    work: Work
    deadline_ns: int
    budget: int | None
    """Nano-dollars."""
    fleet: Fleet | None
    """The cheapest that ends by the deadline, whatever it costs; None if none does."""
    late_finish_ns: int | None
    """When that one ends if images take as long as they may."""
    soonest: Fleet
    """Of the fleets that end as soon as any can, the cheapest."""
    by_kind: Sequence[Fleet]
    """The cheapest fleet of each offer alone that ends by the deadline, the cheapest first."""
    frontier: Sequence[Fleet]
    """The cheapest fleets by other deadlines, the soonest first, each one cheaper."""
    remedy: Remedy | None
    """What else could be done, if the budget does not suffice for the deadline."""

    @property
    def is_possible(self) -> bool:
        """Tell whether a fleet keeps to the deadline and the budget."""
        return self.fleet is not None and self.remedy is None

    @property
    def nearest(self) -> Sequence[Fleet]:
        """The three points of the frontier beside the fleet, the soonest first."""
        middle = self.fleet or self.soonest
        others = [fleet for fleet in self.frontier if fleet.finish_ns != middle.finish_ns]
        others.sort(key=lambda fleet: _ratio(fleet.finish_ns, middle.finish_ns))
        return sorted(others[:NEAREST], key=lambda fleet: fleet.finish_ns)


def make_plan(
    work: Work, offers: Sequence[Offer], deadline_ns: int, budget: int | None = None
) -> Plan:
    """Find the cheapest fleet by a deadline, and what it could be compared with.

    Args:
        work: has at least one image.
        offers: at least one; each knows all shapes of the work, and what is free has a limit.
        deadline_ns: from the start of the devices.
        budget: nano-dollars, or None.
    """
    problem = make_problem(work, offers)
    fastest = soonest(problem)
    known = fastest if fastest.finish_ns <= deadline_ns else None
    best = cheapest(problem, deadline_ns, known)
    points = frontier(problem, deadline_ns, fastest)
    alone = (by_itself(problem, index, deadline_ns) for index in range(len(offers)))
    by_kind = sorted(choice for choice in alone if choice is not None)
    is_too_dear = budget is not None and (best or fastest).nanodollars > budget
    return Plan(
        work,
        deadline_ns,
        budget,
        fleet=None if best is None else make_fleet(problem, best),
        late_finish_ns=None if best is None else _late_finish_ns(problem, best),
        soonest=make_fleet(problem, fastest),
        by_kind=[make_fleet(problem, choice) for choice in by_kind],
        frontier=[make_fleet(problem, choice) for choice in points],
        remedy=_remedy(problem, budget) if is_too_dear and budget is not None else None,
    )


def _late_finish_ns(problem: Problem, choice: Choice) -> int:
    late = [replace(offer, image_ns=offer.late_image_ns) for offer in problem.offers]
    return choice_of(make_problem(problem.work, late), choice.counts).finish_ns


def _remedy(problem: Problem, budget: int) -> Remedy:
    within = soonest_within(problem, budget)
    return Remedy(
        make_fleet(problem, without_deadline(problem)),
        None if within is None else make_fleet(problem, within),
        bought(problem, budget) if within is None else None,
    )


def _ratio(one: int, other: int) -> Fraction:
    return Fraction(max(one, other), min(one, other))
