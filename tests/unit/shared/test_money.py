"""Money is whole nano-dollars."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.money import (
    NANODOLLARS,
    NANOSECONDS_PER_HOUR,
    device_cost,
    format_dollars,
    share_evenly,
)

times = st.integers(0, 10**18)
rates = st.integers(0, 10**12)


def test_an_hour_costs_what_an_hour_costs() -> None:
    assert device_cost(NANOSECONDS_PER_HOUR, 2_500_000_000) == 2_500_000_000


def test_half_a_nanodollar_is_rounded_up() -> None:
    assert device_cost(NANOSECONDS_PER_HOUR // 2, 1) == 1
    assert device_cost(NANOSECONDS_PER_HOUR // 2 - 1, 1) == 0


@given(times, rates)
def test_a_cost_is_within_half_a_nanodollar_of_the_exact_one(time: int, rate: int) -> None:
    exact_times_hour = time * rate
    error = abs(device_cost(time, rate) * NANOSECONDS_PER_HOUR - exact_times_hour)
    assert 2 * error <= NANOSECONDS_PER_HOUR


@given(times, times, rates)
def test_more_time_never_costs_less(one: int, other: int, rate: int) -> None:
    assert device_cost(one + other, rate) >= device_cost(one, rate)


@pytest.mark.parametrize(("time", "rate"), [(-1, 1), (1, -1)])
def test_negative_time_or_price_is_refused(time: int, rate: int) -> None:
    with pytest.raises(ValueError, match="not negative"):
        device_cost(time, rate)


@given(st.integers(0, 10**15), st.integers(1, 1000))
def test_shares_add_up_and_differ_by_one_at_most(total: int, parts: int) -> None:
    shares = share_evenly(total, parts)

    assert len(shares) == parts
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(("total", "parts"), [(1, 0), (-1, 2)])
def test_there_is_nothing_to_share_with_nobody_nor_of_a_debt(total: int, parts: int) -> None:
    with pytest.raises(ValueError, match="share"):
        share_evenly(total, parts)


@pytest.mark.parametrize(
    ("nanodollars", "decimals", "written"),
    [
        (0, 6, "$0.000000"),
        (123_456, 6, "$0.000123"),
        (123_500, 6, "$0.000124"),
        (1, 9, "$0.000000001"),
        (1_999_999_999, 2, "$2.00"),
        (12_500_000_000, 0, "$13"),
        (-5_000_000, 3, "-$0.005"),
    ],
)
def test_dollars_are_written_rounded_half_up(nanodollars: int, decimals: int, written: str) -> None:
    assert format_dollars(nanodollars, decimals=decimals) == written


@given(st.integers(0, 10**20), st.integers(0, 9))
def test_written_dollars_are_the_exact_ones_rounded(nanodollars: int, decimals: int) -> None:
    exact = Decimal(nanodollars) / NANODOLLARS
    rounded = exact.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)
    assert format_dollars(nanodollars, decimals=decimals) == f"${rounded:f}"


def test_a_nanodollar_has_no_tenth_decimal() -> None:
    with pytest.raises(ValueError, match="nine decimals"):
        format_dollars(1, decimals=10)
