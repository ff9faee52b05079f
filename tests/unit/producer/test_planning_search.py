"""The cheapest fleet by a deadline is the cheapest: nothing that is tried one by one is better."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from producer.planning.fleet import Choice, Problem, choice_of, make_fleet, make_problem
from producer.planning.offers import Offer, Work
from producer.planning.search import cheapest, soonest
from shared.domain.money import NANOSECONDS_PER_HOUR
from support.planning import SMALL, every_fleet, problems, some_offers


@given(problems, st.integers(1, 400))
def test_no_other_fleet_is_cheaper(problem: Problem, deadline_ns: int) -> None:
    in_time = [choice for choice in every_fleet(problem) if choice.finish <= deadline_ns]
    best = min(in_time, default=None)

    found = cheapest(problem, deadline_ns)

    # Offers that are the same in everything stand for each other.
    assert (found and found[:3]) == (best and best[:3])


@given(problems, st.integers(1, 400), st.integers(0, 400))
def test_a_fleet_that_is_known_changes_nothing(
    problem: Problem, deadline_ns: int, more_ns: int
) -> None:
    known = cheapest(problem, deadline_ns)
    assume(known is not None)

    found = cheapest(problem, deadline_ns + more_ns)

    assert found is not None
    assert cheapest(problem, deadline_ns + more_ns, known) == found


@given(problems)
def test_none_ends_before_the_soonest_and_that_one_is_the_cheapest_of_its_time(
    problem: Problem,
) -> None:
    fleets = list(every_fleet(problem))
    soonest_ns = min(choice.finish_ns for choice in fleets)
    best = min(choice for choice in fleets if choice.finish_ns == soonest_ns)

    assert soonest(problem)[:3] == best[:3]


@given(st.integers(1, 200), st.integers(1, 8), some_offers, st.lists(st.integers(0, 4), min_size=3))
def test_a_queue_is_never_empty_later_than_the_fleet_is_said_to_end(
    images: int, chunk_size: int, offers: Sequence[Offer], counts: Sequence[int]
) -> None:
    problem = make_problem(Work({SMALL: images}, chunk_size), offers)
    most = [device.most for device in problem.devices]
    hired = [min(pair) for pair in zip(counts[: len(most)], most, strict=True)]
    assume(any(hired))
    choice = choice_of(problem, hired)

    assert drained_ns(problem, choice) <= choice.finish_ns


def drained_ns(problem: Problem, choice: Choice) -> int:
    """Let each device, as soon as it is free, take the next chunk; say when the last one ends."""
    [images] = problem.work.images.values()
    free = [
        (offer.ready_ns, offer.image_ns[SMALL])
        for offer, count in zip(problem.offers, choice.counts, strict=True)
        for _ in range(count)
    ]
    heapq.heapify(free)
    last_ns = 0
    for begin in range(0, images, problem.work.chunk_size):
        at_ns, image_ns = heapq.heappop(free)
        at_ns += image_ns * min(problem.work.chunk_size, images - begin)
        last_ns = max(last_ns, at_ns)
        heapq.heappush(free, (at_ns, image_ns))
    return last_ns


@given(problems, st.integers(1, 400))
def test_the_parts_of_a_fleet_add_up_and_each_device_is_paid_until_the_end_and_no_longer(
    problem: Problem, deadline_ns: int
) -> None:
    choice = cheapest(problem, deadline_ns)
    assume(choice is not None)
    assert choice is not None
    fleet = make_fleet(problem, choice)

    assert sum(hired.images for hired in fleet.hired) == problem.work.total
    assert sum(hired.nanodollars for hired in fleet.hired) == fleet.nanodollars
    an_hour = sum(hired.devices * hired.offer.nanodollars_per_hour for hired in fleet.hired)
    exactly = an_hour * choice.finish / NANOSECONDS_PER_HOUR
    assert abs(fleet.nanodollars - exactly) <= Fraction(1, 2)
    assert fleet.finish_ns <= deadline_ns
