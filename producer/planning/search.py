"""The cheapest whole numbers of devices by a deadline: branch and bound.

A fleet's cost is linear in what each offer draws, if it were to end at the deadline and could
hire parts of a device. That linear programme is solved by taking the offers in the order of
what a unit of work costs on them, and no fleet of whole devices is cheaper. So the search takes
the offers in that order, tries the largest sensible number of each first, and leaves off where
even parts of the devices left would cost more than the best fleet found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from producer.planning.fleet import Choice, Device, Problem, choice_of


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A device that can be ready before the deadline."""

    index: int
    pay: int
    """Of one device until the deadline: nano-dollars an hour times nanoseconds."""
    draws: int
    """Units of work of one device by the deadline."""
    most: int
    better: Sequence[int]
    """Places of candidates before it that are no worse in anything."""


def cheapest(problem: Problem, deadline_ns: int, known: Choice | None = None) -> Choice | None:
    """Find the cheapest fleet that ends by a deadline, or None if there is none.

    Args:
        problem: says what can be had. A free device has a limit, or all that have a chunk to
            draw are taken.
        deadline_ns: from the start.
        known: a fleet that ends by then, if one is known; saves time.
    """
    best = known
    # Within one of these rounds every chunk is taken to last as long as the slowest allowed
    # one: then what a unit of work costs does not depend on who else is in the fleet.
    for chunk_ns in sorted({device.chunk_ns for device in problem.devices}):
        best = _Search(problem, deadline_ns, chunk_ns, best).run()
    return best


def soonest(problem: Problem) -> Choice:
    """Find the cheapest of the fleets that end as soon as any can, to the nanosecond."""
    devices = problem.devices
    everything = [
        choice_of(
            problem,
            [device.most if device.chunk_ns <= chunk_ns else 0 for device in devices],
        )
        for chunk_ns in {device.chunk_ns for device in devices}
    ]
    quickest = min(everything, key=lambda choice: choice.finish)
    return cheapest(problem, quickest.finish_ns, quickest) or quickest


class _Search:
    """Fleets whose chunks take no longer than ``chunk_ns``."""

    def __init__(
        self, problem: Problem, deadline_ns: int, chunk_ns: int, best: Choice | None
    ) -> None:
        self._problem = problem
        self._deadline_ns = deadline_ns
        self._best = best
        self._counts = [0] * len(problem.devices)
        self._candidates = _candidates(problem.devices, deadline_ns, chunk_ns)

    def run(self) -> Choice | None:
        place, left = 0, self._problem.units
        # What is free is taken: it makes the others end sooner.
        for candidate in self._candidates:
            if not candidate.pay:
                self._counts[candidate.index] = candidate.most
                left -= candidate.most * candidate.draws
                place += 1
        if not self._is_hopeless(place, left, 0):
            self._descend(place, left, 0)
        return self._best

    def _descend(self, place: int, left: int, paid: int) -> None:
        """Try all numbers of the candidates from a place on.

        Args:
            place: of the first that is open.
            left: units of work that those before it leave at the deadline.
            paid: what those before it cost until the deadline.
        """
        if left <= 0:
            # More devices would only cost more: each draws at a higher price than those before.
            self._compare()
            return
        candidate = self._candidates[place]
        for count in range(self._most(candidate, left), -1, -1):
            left_then = left - count * candidate.draws
            paid_then = paid + count * candidate.pay
            if self._is_hopeless(place + 1, left_then, paid_then):
                break  # the fewer of this, the more of what costs more
            self._counts[candidate.index] = count
            self._descend(place + 1, left_then, paid_then)
        self._counts[candidate.index] = 0

    def _most(self, candidate: _Candidate, left: int) -> int:
        """Return how many of a candidate are worth a try."""
        for place in candidate.better:
            better = self._candidates[place]
            if self._counts[better.index] < better.most:
                return 0
        return min(candidate.most, -(-left // candidate.draws))

    def _is_hopeless(self, place: int, left: int, paid: int) -> bool:
        """Tell whether even parts of the devices that are open cannot better the best."""
        if left <= 0:
            return False
        for candidate in self._candidates[place:]:
            draws = candidate.most * candidate.draws
            if draws >= left:
                least = paid + left * candidate.pay // candidate.draws
                return self._best is not None and least > self._best.price_time
            paid += candidate.most * candidate.pay
            left -= draws
        return True

    def _compare(self) -> None:
        found = choice_of(self._problem, self._counts)
        if found.finish <= self._deadline_ns and (self._best is None or found < self._best):
            self._best = found


def _candidates(devices: Sequence[Device], deadline_ns: int, chunk_ns: int) -> Sequence[_Candidate]:
    draws = {
        index: device.rate * (deadline_ns - chunk_ns - device.ready_ns)
        for index, device in enumerate(devices)
        if device.chunk_ns <= chunk_ns and device.ready_ns < deadline_ns - chunk_ns
    }
    order = sorted(draws, key=lambda index: (Fraction(devices[index].price, draws[index]), index))
    return [
        _Candidate(
            index,
            devices[index].price * deadline_ns,
            draws[index],
            devices[index].most,
            [
                before
                for before in range(place)
                if _is_no_worse(devices[order[before]], devices[index])
            ],
        )
        for place, index in enumerate(order)
    ]


def _is_no_worse(one: Device, other: Device) -> bool:
    return (
        one.price <= other.price
        and one.rate >= other.rate
        and one.ready_ns <= other.ready_ns
        and one.chunk_ns <= other.chunk_ns
    )
