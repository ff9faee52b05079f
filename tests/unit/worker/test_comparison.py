"""What one model gains over another: ratios of medians, and money as the books round it."""

from __future__ import annotations

import pytest

from shared.db.outcomes import PhaseTimes
from worker.bench.comparison import PUBLISHED, ModelTimes, compare, median

SECOND = 1_000_000_000
DOLLAR = 1_000_000_000


def times(steps: int, *denoise_seconds: int, rest: int = 0) -> ModelTimes:
    """Make rounds of so many seconds of steps, and ``rest`` in encoding and decoding each."""
    rounds = [PhaseTimes(rest * SECOND, each * SECOND, rest * SECOND) for each in denoise_seconds]
    return ModelTimes(steps, rounds)


def test_a_faster_step_and_fewer_of_them_multiply() -> None:
    gains = compare(times(16, 32), times(10, 10), nanodollars_per_hour=DOLLAR)

    assert gains.speedup_per_iteration == 2
    assert gains.speedup_end_to_end == pytest.approx(3.2)
    assert gains.cost_saved_percent == pytest.approx(100 * (1 - 1 / 3.2))


def test_what_both_do_alike_counts_end_to_end_and_not_in_an_iteration() -> None:
    gains = compare(times(16, 32, rest=4), times(10, 10, rest=4), nanodollars_per_hour=DOLLAR)

    assert gains.speedup_per_iteration == 2
    assert gains.speedup_end_to_end == pytest.approx(40 / 18)
    assert gains.cost_saved_percent == pytest.approx(55)


def test_a_candidate_that_is_slower_saves_less_than_nothing() -> None:
    gains = compare(times(10, 10), times(16, 32), nanodollars_per_hour=DOLLAR)

    assert gains.speedup_per_iteration == 0.5
    assert gains.cost_saved_percent == pytest.approx(-220)


def test_where_nothing_costs_anything_nothing_is_saved() -> None:
    gains = compare(times(16, 32), times(10, 10), nanodollars_per_hour=0)

    assert gains.cost_saved_percent is None
    assert gains.speedup_end_to_end == pytest.approx(3.2)


def test_a_round_that_was_disturbed_does_not_count() -> None:
    disturbed = times(10, 10, 99, 11, rest=1)

    assert disturbed.denoise_ns == 11 * SECOND
    assert disturbed.device_ns == 13 * SECOND
    assert disturbed.device_range_ns == (12 * SECOND, 101 * SECOND)
    assert disturbed.iteration_ns == 1_100_000_000


def test_an_image_costs_what_the_books_would_charge_for_its_time() -> None:
    assert times(10, 30, rest=3).cost_nanodollars(DOLLAR) == 36 * DOLLAR // 3600
    assert ModelTimes(1, [PhaseTimes(denoise_ns=1)]).cost_nanodollars(DOLLAR) == 0


@pytest.mark.parametrize(
    ("denoise_ns", "steps", "iteration_ns"), [(30, 10, 3), (34, 10, 3), (35, 10, 4), (5, 2, 3)]
)
def test_an_iteration_is_rounded_half_up(denoise_ns: int, steps: int, iteration_ns: int) -> None:
    assert ModelTimes(steps, [PhaseTimes(denoise_ns=denoise_ns)]).iteration_ns == iteration_ns


@pytest.mark.parametrize(
    ("values", "middle"),
    [([7], 7), ([9, 1], 5), ([2, 1], 1), ([5, 9, 1], 5), ([4, 1, 9, 2], 3)],
)
def test_a_median_is_whole(values: list[int], middle: int) -> None:
    assert median(values) == middle


def test_a_median_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no median"):
        median([])


def test_the_published_saving_is_what_the_published_speed_up_gives() -> None:
    assert PUBLISHED.cost_saved_percent == pytest.approx(
        100 * (1 - 1 / PUBLISHED.speedup_end_to_end), abs=0.6
    )
