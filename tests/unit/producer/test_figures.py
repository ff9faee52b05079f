"""Amounts, counts and times as pages write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.dashboard import figures

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (figures.count(0), "0"),
        (figures.count(1_234_567), "1,234,567"),
        (figures.exact(0), "$0.000000000"),
        (figures.exact(1), "$0.000000001"),
        (figures.exact(1_234_567_890_123), "$1234.567890123"),
        (figures.span(0), "0 s"),
        (figures.span(0.4), "0 s"),
        (figures.span(21_480), "5 h 58 min"),
        (figures.milliseconds(0), "0.0 ms"),
        (figures.milliseconds(12_345_678), "12.3 ms"),
        (figures.milliseconds(1_000_000_000), "1.00 s"),
        (figures.milliseconds(3_723_450_000_000), "3,723.45 s"),
        (figures.rate(None), figures.NOTHING),
        (figures.rate(0.0), figures.NOTHING),
        (figures.rate(0.5), "1,800 / h"),
        (figures.rate(1.0), "1.0 / s"),
        (figures.rate(99.95), "100.0 / s"),
        (figures.rate(1_234.5), "1,234 / s"),
        (figures.size(0), "0 bytes"),
        (figures.size(1_023), "1,023 bytes"),
        (figures.size(1_024), "1.0 KiB"),
        (figures.size(1_258_291), "1.2 MiB"),
        (figures.size(2**50), "1,024.0 TiB"),
        (figures.ago(NOW, NOW), "now"),
        (figures.ago(NOW + timedelta(hours=1), NOW), "now"),
        (figures.ago(NOW - timedelta(seconds=1.9), NOW), "1 s ago"),
        (figures.ago(NOW - timedelta(days=2, hours=3), NOW), "2 d ago"),
        (figures.moment(NOW), "2030-01-02 03:04:05 UTC"),
    ],
)
def test_figures_are_written_with_their_units(written: str, expected: str) -> None:
    assert written == expected


@given(part=st.integers(0, 10**9), rest=st.integers(0, 10**9))
def test_a_share_is_a_length_of_a_bar(part: int, rest: int) -> None:
    length = figures.share(part, part + rest)

    assert 0 <= length <= 100
    assert length == pytest.approx(100 * part / max(1, part + rest), abs=0.001)


def test_nothing_of_nothing_has_no_length() -> None:
    assert figures.share(0, 0) == 0


def test_every_name_in_a_template_is_a_filter_of_its_own() -> None:
    assert len(set(figures.FILTERS.values())) == len(figures.FILTERS)
