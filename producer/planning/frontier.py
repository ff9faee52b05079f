"""What fleets cost by other deadlines, within a budget, or of one kind alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isqrt
from typing import NamedTuple

from producer.planning.fleet import Choice, Problem, alone_ns, choice_of
from producer.planning.offers import Offer
from producer.planning.search import cheapest, soonest
from shared.domain.money import NANOSECONDS_PER_HOUR

HALVINGS = 5
"""Of the range of deadlines: 33 of them, with both ends."""
REACH = 4
"""The latest deadline of a frontier is so many times the one that was asked for."""


class Bought(NamedTuple):
    """What a budget buys that is too small for all the work."""

    offer: Offer
    images: int
    finish_ns: int


def frontier(problem: Problem, deadline_ns: int, fastest: Choice) -> Sequence[Choice]:
    """Return the cheapest fleets by a range of deadlines, the soonest first, each one cheaper.

    Deadlines go from the soonest that is sensible, or the one asked for if that is sooner, to
    four times that one. Each is the same number of times the one before.

    Args:
        problem: says what can be had.
        deadline_ns: the one asked for.
        fastest: the fleet that ends soonest.
    """
    devices = problem.devices
    ready_ns = min(device.ready_ns + device.chunk_ns for device in devices)
    # For less than half as long again as it takes to be ready, no device is worth having.
    begin_ns = max(fastest.finish_ns, min(deadline_ns, ready_ns * 3 // 2))
    asked_ns = max(begin_ns, deadline_ns)
    best: Choice | None = None
    found: list[Choice] = []
    for at_ns in sorted({asked_ns, *_geometric(begin_ns, REACH * asked_ns, HALVINGS)}):
        best = cheapest(problem, at_ns, best)
        if best is not None:
            found.append(best)
    return list(_pareto(found))


def _geometric(begin: int, end: int, halvings: int) -> Iterator[int]:
    """Yield numbers from the first to the last, each about the same times the one before."""
    if not halvings:
        yield from (begin, end)
        return
    middle = isqrt(begin * end)
    yield from _geometric(begin, middle, halvings - 1)
    yield from _geometric(middle, end, halvings - 1)


def _pareto(choices: Iterable[Choice]) -> Iterator[Choice]:
    """Leave out what another fleet betters in time or cost, and is no worse in the other."""
    least: Choice | None = None
    for choice in sorted(choices, key=lambda choice: (choice.finish, choice)):
        if least is None or choice.price_time < least.price_time:
            least = choice
            yield choice


def by_itself(problem: Problem, index: int, deadline_ns: int) -> Choice | None:
    """Return the cheapest fleet of one offer alone by a deadline, or None if it is too few."""
    device = problem.devices[index]
    drawing_ns = deadline_ns - device.chunk_ns - device.ready_ns
    if drawing_ns <= 0:
        return None
    devices = -(-problem.units // (device.rate * drawing_ns))
    if devices > device.most:
        return None
    return _of_one(problem, index, devices if device.price else device.most)


def _of_one(problem: Problem, index: int, devices: int) -> Choice:
    counts = [0] * len(problem.devices)
    counts[index] = devices
    return choice_of(problem, counts)


def without_deadline(problem: Problem) -> Choice:
    """Return the cheapest fleet of all, however long it takes."""
    one_of_each = [_of_one(problem, index, 1) for index in range(len(problem.devices))]
    slowest = max(one_of_each, key=lambda choice: choice.finish)
    return cheapest(problem, slowest.finish_ns, slowest) or slowest


def soonest_within(problem: Problem, budget: int) -> Choice | None:
    """Return the fleet that ends soonest of those that cost no more than a budget, or None.

    Args:
        problem: says what can be had.
        budget: nano-dollars.
    """
    best = without_deadline(problem)
    if best.nanodollars > budget:
        return None
    too_soon_ns = soonest(problem).finish_ns - 1
    while best.finish_ns - too_soon_ns > 1:
        middle_ns = (best.finish_ns + too_soon_ns) // 2
        found = cheapest(problem, middle_ns)
        if found is None or found.nanodollars > budget:
            too_soon_ns = middle_ns
        else:
            best = found
    return best


def bought(problem: Problem, budget: int) -> Bought:
    """Tell how many images a budget buys, without a deadline: on one device, the best for that.

    Args:
        problem: says what can be had, and nothing of it is free.
        budget: nano-dollars, too few for all images.
    """
    return max(
        (_bought(problem, offer, budget) for offer in problem.offers),
        key=lambda found: (found.images, -found.finish_ns),
    )


def _bought(problem: Problem, offer: Offer, budget: int) -> Bought:
    total, all_ns = problem.work.total, alone_ns(problem.work, offer)
    paid_ns = budget * NANOSECONDS_PER_HOUR // offer.nanodollars_per_hour
    images = min(max(0, paid_ns - offer.ready_ns) * total // all_ns, total)
    return Bought(offer, images, offer.ready_ns + -(-images * all_ns // total))
