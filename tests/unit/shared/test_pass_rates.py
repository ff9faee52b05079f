"""How many images are best drawn at once, for any rates that may have been measured."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.domain.pass_rates import best_pass_of, choose_pass, chunk_for, default_pass

RATES = st.dictionaries(st.integers(1, 64), st.integers(1, 10**12), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({4: 100}, 4),
        ({1: 100, 2: 90, 4: 80, 8: 79}, 4),
        ({1: 100, 2: 98, 4: 97}, 1),
        ({1: 100, 2: 98, 4: 95}, 4),
        ({1: 100, 2: 120, 4: 90}, 4),
        ({1: 103, 2: 100}, 2),
        ({1: 1_029, 2: 1_000}, 1),
    ],
)
def test_the_largest_pass_that_gains_three_per_cent_is_chosen(
    rates: dict[int, int], chosen: int
) -> None:
    assert choose_pass(rates) == chosen


@given(RATES)
def test_no_larger_pass_gains_three_per_cent_over_all_smaller_ones(rates: dict[int, int]) -> None:
    chosen = choose_pass(rates)

    assert chosen in rates
    for images in (images for images in rates if images > chosen):
        least = min(ns for smaller, ns in rates.items() if smaller < images)
        assert rates[images] * 103 > least * 100
    if chosen != min(rates):
        least = min(ns for smaller, ns in rates.items() if smaller < chosen)
        assert rates[chosen] * 103 <= least * 100


@given(RATES, st.integers(1, 10**6))
def test_a_device_that_is_as_many_times_slower_draws_as_many_at_once(
    rates: dict[int, int], factor: int
) -> None:
    assert choose_pass({images: ns * factor for images, ns in rates.items()}) == choose_pass(rates)


@given(RATES, st.integers(1, 64), st.none() | st.integers(1, 64))
def test_no_more_are_drawn_at_once_than_fit_and_no_fewer_than_one(
    rates: dict[int, int], default: int, most: int | None
) -> None:
    best = best_pass_of(rates, default, most)

    assert 1 <= best <= (most or 64)


@given(RATES, st.integers(1, 64))
def test_what_was_left_of_a_small_batch_makes_no_later_pass_small(
    rates: dict[int, int], default: int
) -> None:
    assume(choose_pass(rates) == max(rates))

    assert best_pass_of(rates, default, None) == max(default, *rates)


def test_fewer_than_by_default_are_drawn_at_once_where_they_are_as_fast() -> None:
    assert best_pass_of({2: 100, 8: 100}, 8, None) == 2
    assert best_pass_of({}, 8, None) == 8
    assert best_pass_of({}, 8, 3) == 3


@given(st.integers(1, 64), st.integers(1, 64))
def test_a_message_carries_full_passes_and_as_many_as_its_size_allows(
    images_per_pass: int, chunk_size: int
) -> None:
    jobs = chunk_for(images_per_pass, chunk_size)

    assert jobs % images_per_pass == 0
    assert jobs <= max(images_per_pass, chunk_size) < jobs + images_per_pass


def test_a_processor_draws_one_by_one_until_somebody_measures() -> None:
    assert default_pass("cpu", 8) == 1
    assert default_pass("cuda", 8) == 8
