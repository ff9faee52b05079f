"""Money, time and shares as programs read them."""

from __future__ import annotations

from shared.domain.money import NANOSECONDS, format_dollars


def usd(nanodollars: int) -> str:
    """Write nano-dollars as an exact decimal number of dollars: ``0.000123456``."""
    return format_dollars(nanodollars, decimals=9).replace("$", "")


def seconds(nanoseconds: int) -> float:
    """Write device time in seconds, near enough to be looked at."""
    return nanoseconds / NANOSECONDS


def per_cent(part: int, whole: int) -> float | None:
    """Write a part in per cent, to two decimals; None of nothing."""
    return round(100 * part / whole, 2) if whole else None
