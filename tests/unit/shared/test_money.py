"""Money is whole nano-dollars."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.domain.money import (
    NANODOLLARS,
    NANOSECONDS_PER_HOUR,
    PriceStep,
    device_cost,
    format_dollars,
    online_cost,
    parse_dollars,
    share_by_weight,
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


@pytest.mark.parametrize(
    ("text", "nanodollars"),
    [
        ("0.0765", 76_500_000),
        (" 98.32 ", 98_320_000_000),
        ("1e-9", 1),
        ("0e-99999", 0),
        ("0", 0),
        ("999999999.999999999", 10**18 - 1),
    ],
)
def test_dollars_are_read_exactly(text: str, nanodollars: int) -> None:
    assert parse_dollars(text) == nanodollars


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a number"),
        ("a lot", "not a number"),
        ("NaN", "not a number"),
        ("Infinity", "not a number"),
        ("-0.01", "negative"),
        ("0.0000000001", "finer than a nano-dollar"),
        ("1.0000000000000000000000000000000001", "finer than a nano-dollar"),
        ("1e-999999", "finer than a nano-dollar"),
        ("1e999999", "more than"),
        (101 * "1", "at most 100 characters"),
    ],
)
def test_what_is_no_amount_of_dollars_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_dollars(text)


@given(st.integers(0, 10**18))
def test_what_is_written_with_nine_decimals_is_read_back(nanodollars: int) -> None:
    assert parse_dollars(format_dollars(nanodollars, decimals=9).removeprefix("$")) == nanodollars


@given(st.integers(-(10**15), 10**15), st.lists(st.integers(0, 10**12), min_size=1, max_size=20))
def test_shares_by_weight_add_up_and_are_off_by_one_at_most(total: int, weights: list[int]) -> None:
    assume(any(weights))
    parts = share_by_weight(total, weights)

    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * sum(weights) - total * weight) <= sum(weights)


def test_time_online_is_priced_part_by_part() -> None:
    begin = datetime(2030, 1, 1, tzinfo=UTC)
    hour = timedelta(hours=1)
    steps = [
        PriceStep(begin - hour, 3),
        PriceStep(begin + hour, 5_000_000_000),
        PriceStep(begin + 9 * hour, 7),
    ]

    assert online_cost(begin, begin + hour, steps) == 3
    assert online_cost(begin, begin + 3 * hour, steps) == 3 + 10_000_000_000
    assert online_cost(begin, begin, steps) == 0
    with pytest.raises(ValueError, match="before its first price"):
        online_cost(begin - 2 * hour, begin, steps)
    with pytest.raises(ValueError, match="before that"):
        online_cost(begin, begin - hour / 2, steps)
