"""What a plan says, and what it holds against the fleet that it proposes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from producer.plan_words import decimals_of, dollars, duration
from producer.planning.fleet import Problem, choice_of, make_problem
from producer.planning.frontier import bought, frontier, soonest_within, without_deadline
from producer.planning.offers import Offer, Work, on_spot
from producer.planning.plan import Plan, make_plan
from producer.planning.search import cheapest, soonest
from support.planning import SMALL, TALL, an_offer, every_fleet, problems

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DOLLAR = 1_000_000_000
WORK = Work({SMALL: 36_000}, chunk_size=1)
"""Ten hours of a device that draws an image a second."""
FAST = an_offer(sku="fast", price=2 * DOLLAR, small_ns=SECOND, load_ns=MINUTE)
SLOW = an_offer(sku="slow", price=1 * DOLLAR, small_ns=4 * SECOND, load_ns=MINUTE)


def hired(plan: Plan) -> dict[str, int]:
    assert plan.fleet is not None
    return {part.offer.sku: part.devices for part in plan.fleet.hired}


def test_whole_devices_end_before_the_deadline_and_are_paid_only_until_then() -> None:
    plan = make_plan(WORK, [FAST], 4 * HOUR)

    assert plan.fleet is not None
    assert hired(plan) == {"fast": 3}
    # A third of the work, the model's load, and no more than an image's time for the last ones.
    drawn_ns = 12_000 * SECOND + MINUTE
    assert drawn_ns <= plan.fleet.finish_ns <= drawn_ns + SECOND
    assert plan.fleet.nanodollars == pytest.approx(6 * DOLLAR * drawn_ns // HOUR, rel=1e-3)


def test_kinds_are_mixed_where_the_better_one_is_too_few() -> None:
    plan = make_plan(WORK, [replace(FAST, most=2), SLOW], 4 * HOUR)

    assert hired(plan) == {"fast": 2, "slow": 3}
    assert plan.fleet is not None
    assert plan.fleet.finish_ns <= 4 * HOUR
    assert [part.images for part in plan.fleet.hired] == pytest.approx([26_182, 9_818], abs=5)


def test_a_part_of_a_device_that_is_missing_is_hired_as_a_cheaper_one() -> None:
    large = replace(FAST, load_ns=HOUR)
    small = replace(SLOW, nanodollars_per_hour=600_000_000)

    in_time = make_plan(WORK, [large, small], 11 * HOUR + 2 * MINUTE)
    sooner = make_plan(WORK, [large, small], 10 * HOUR + 58 * MINUTE)

    assert hired(in_time) == {"fast": 1}
    assert hired(sooner) == {"fast": 1, "slow": 1}


def test_the_time_until_a_device_draws_is_paid_too() -> None:
    waiting = replace(FAST, start_up_ns=30 * MINUTE)

    quick, slow = (make_plan(WORK, [offer], 20 * HOUR).fleet for offer in (FAST, waiting))

    assert quick is not None
    assert slow is not None
    assert slow.finish_ns - quick.finish_ns == 30 * MINUTE
    assert slow.nanodollars - quick.nanodollars == DOLLAR


def test_a_deadline_that_none_can_keep_is_answered_with_the_soonest() -> None:
    plan = make_plan(WORK, [replace(FAST, most=4), replace(SLOW, most=4)], HOUR)

    assert plan.fleet is None
    assert not plan.is_possible
    assert {part.offer.sku: part.devices for part in plan.soonest.hired} == {"fast": 4, "slow": 4}
    assert plan.soonest.finish_ns == pytest.approx(7_200 * SECOND + MINUTE, abs=5 * SECOND)
    assert plan.frontier[0] == plan.soonest


def test_no_number_of_devices_draws_before_the_model_is_loaded() -> None:
    plan = make_plan(WORK, [FAST, SLOW], MINUTE)

    assert plan.fleet is None
    assert MINUTE < plan.soonest.finish_ns < MINUTE + 3 * SECOND


def test_what_is_too_dear_by_the_deadline_is_answered_with_later_fleets_within_the_budget() -> None:
    slow_to_load = replace(FAST, load_ns=30 * MINUTE)
    plan = make_plan(WORK, [slow_to_load], 2 * HOUR, budget=24 * DOLLAR)

    assert plan.fleet is not None
    assert plan.fleet.nanodollars > 24 * DOLLAR
    assert not plan.is_possible
    assert plan.remedy is not None
    assert plan.remedy.cheapest.devices == 1
    assert plan.remedy.soonest is not None
    assert plan.remedy.soonest.devices == 3
    assert plan.remedy.bought is None


def test_a_budget_for_some_of_the_images_tells_how_many() -> None:
    plan = make_plan(WORK, [FAST, SLOW], 4 * HOUR, budget=5 * DOLLAR)

    assert plan.remedy is not None
    assert plan.remedy.soonest is None
    assert plan.remedy.bought is not None
    # Two and a half hours, less the minute that the model loads.
    assert plan.remedy.bought.images == pytest.approx(9_000 - 60, abs=1)
    assert plan.remedy.bought.offer == FAST


def test_a_budget_that_suffices_needs_no_remedy() -> None:
    plan = make_plan(WORK, [FAST, SLOW], 4 * HOUR, budget=50 * DOLLAR)

    assert plan.is_possible
    assert plan.remedy is None


def test_a_plan_tells_when_it_ends_if_images_take_as_long_as_they_may() -> None:
    plan = make_plan(WORK, [FAST], 4 * HOUR)

    # The factory's images may take twice as long.
    assert plan.late_finish_ns == pytest.approx(24_000 * SECOND + MINUTE, abs=3 * SECOND)


def test_fleets_of_one_kind_are_there_to_compare_if_they_can_do_it() -> None:
    plan = make_plan(WORK, [FAST, SLOW, replace(SLOW, sku="few", most=3)], 4 * HOUR)

    assert [[part.offer.sku for part in fleet.hired] for fleet in plan.by_kind] == [
        ["fast"],
        ["slow"],
    ]
    assert [fleet.devices for fleet in plan.by_kind] == [3, 11]


def test_the_nearest_points_of_the_frontier_are_beside_the_fleet_that_was_chosen() -> None:
    plan = make_plan(WORK, [FAST, SLOW], 4 * HOUR)
    assert plan.fleet is not None

    assert len(plan.nearest) == 3
    assert plan.fleet not in plan.nearest
    assert plan.fleet in plan.frontier
    times = [fleet.finish_ns for fleet in plan.frontier]
    assert times.index(plan.fleet.finish_ns) - times.index(plan.nearest[0].finish_ns) <= 3


# Spot


def test_a_device_that_is_never_taken_away_only_costs_less() -> None:
    spot = on_spot(FAST, Fraction("0.35"), Fraction(0), 8)

    assert spot == replace(FAST, nanodollars_per_hour=700_000_000, is_spot=True)


def test_an_interruption_costs_start_up_load_and_half_a_chunk() -> None:
    offer = replace(FAST, start_up_ns=3 * MINUTE)

    spot = on_spot(offer, Fraction(1), Fraction(2), 120)

    # Of an hour of drawing, two times 3 min start-up, 1 min load and 60 images are lost.
    assert spot.image_ns[SMALL] == 1_166_666_667
    assert spot.image_ns[TALL] == 2_400_000_000


def test_whoever_is_often_interrupted_is_not_cheap() -> None:
    fleets = [
        make_plan(WORK, [on_spot(FAST, Fraction(1, 2), Fraction(rate), 8)], 40 * HOUR).fleet
        for rate in (0, 1, 10, 60)
    ]

    costs = [fleet.nanodollars for fleet in fleets if fleet is not None]
    assert len(costs) == 4
    assert costs == sorted(set(costs))
    full = make_plan(WORK, [FAST], 40 * HOUR).fleet
    assert full is not None
    assert costs[0] < full.nanodollars < costs[-1]


def test_a_price_on_spot_is_never_rounded_to_nothing() -> None:
    assert on_spot(an_offer(price=1), Fraction(1, 3), Fraction(0), 8).nanodollars_per_hour == 1


# The frontier and budgets


@given(problems, st.integers(1, 400))
def test_every_point_of_the_frontier_is_the_cheapest_of_its_time(
    problem: Problem, deadline_ns: int
) -> None:
    points = frontier(problem, deadline_ns, soonest(problem))

    assert points
    fleets = list(every_fleet(problem))
    for point in points:
        best = min(choice for choice in fleets if choice.finish <= point.finish)
        assert point.price_time == best.price_time
    assert [point.finish for point in points] == sorted({point.finish for point in points})
    costs = [point.price_time for point in points]
    assert costs == sorted(set(costs), reverse=True)
    chosen = cheapest(problem, deadline_ns)
    assert chosen is None or chosen.price_time in costs


@given(problems, st.integers(0, 400))
def test_no_fleet_within_a_budget_is_sooner(problem: Problem, budget: int) -> None:
    within = [choice for choice in every_fleet(problem) if choice.nanodollars <= budget]

    found = soonest_within(problem, budget)

    if not within:
        assert found is None
    else:
        assert found is not None
        assert found.nanodollars <= budget
        assert found.finish_ns == min(choice.finish_ns for choice in within)


@given(problems)
def test_without_a_deadline_nothing_is_cheaper(problem: Problem) -> None:
    best = min(every_fleet(problem))

    assert without_deadline(problem)[:3] == best[:3]


@given(st.integers(2, 2_000), st.integers(1, 10 * DOLLAR))
def test_the_images_that_a_budget_buys_cost_no_more_and_one_more_would(
    images: int, budget: int
) -> None:
    offers = [FAST, SLOW]
    problem = make_problem(Work({SMALL: images}, 1), offers)
    assume(without_deadline(problem).nanodollars > budget)

    found = bought(problem, budget)

    assert found.images < images
    if found.images:
        assert cost_of(found.images, found.offer) <= budget
    assert min(cost_of(found.images + 1, offer) for offer in offers) >= budget


def cost_of(images: int, offer: Offer) -> int:
    return choice_of(make_problem(Work({SMALL: images}, 1), [offer]), [1]).nanodollars


# Words


@pytest.mark.parametrize(
    ("nanoseconds", "words"),
    [
        (0, "0 s"),
        (59 * SECOND, "59 s"),
        (90 * SECOND, "1 min 30 s"),
        (HOUR - 1, "1 h"),
        (6 * HOUR + 29 * SECOND, "6 h"),
        (6 * HOUR + 5 * MINUTE, "6 h 5 min"),
        (51 * HOUR, "2 d 3 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(nanoseconds: int, words: str) -> None:
    assert duration(nanoseconds) == words


def test_amounts_have_as_many_decimals_as_they_need() -> None:
    amounts = [123 * DOLLAR, DOLLAR // 3, DOLLAR // 3_000, 333]

    assert [dollars(amount) for amount in amounts] == [
        "$123.00",
        "$0.3333",
        "$0.000333",
        "$0.000000333",
    ]
    assert decimals_of(0) == 9
