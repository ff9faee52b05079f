"""Money is a whole number of nano-dollars; device time a whole number of nanoseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction

NANODOLLARS = 1_000_000_000
NANODOLLAR_DECIMALS = 9
NANOSECONDS = 1_000_000_000
NANOSECONDS_PER_HOUR = 3600 * NANOSECONDS
NANOSECONDS_PER_MICROSECOND = 1_000
MAX_AMOUNT_CHARACTERS = 100
MAX_NANODOLLARS = 10**18
"""A thousand million dollars: sums of it still fit an SQL integer."""


@dataclass(frozen=True, slots=True)
class PriceStep:
    """What an hour costs from a moment on, until the next step."""

    effective_from: datetime
    nanodollars_per_hour: int


def device_cost(device_ns: int, nanodollars_per_hour: int) -> int:
    """Price device time, rounded half up to a nano-dollar.

    Raises:
        ValueError: a negative time or price.
    """
    if device_ns < 0 or nanodollars_per_hour < 0:
        raise ValueError("device time and price are not negative")
    return _divide(device_ns * nanodollars_per_hour, NANOSECONDS_PER_HOUR)


def online_cost(begin: datetime, end: datetime, steps: Sequence[PriceStep]) -> int:
    """Price the time that a device was held, each part of it at its own price.

    Args:
        begin: from when; it has a price by then.
        end: until when; not before ``begin``.
        steps: in the order of time. Each part is rounded half up to a nano-dollar.

    Raises:
        ValueError: it begins before the first price, or ends before it begins.
    """
    if end < begin or not steps or steps[0].effective_from > begin:
        raise ValueError("the time to price begins before its first price, or ends before that")
    ends = [*(step.effective_from for step in steps[1:]), end]
    cost = 0
    for step, until in zip(steps, ends, strict=True):
        part = min(until, end) - max(step.effective_from, begin)
        if part > timedelta(0):
            cost += device_cost(nanoseconds(part), step.nanodollars_per_hour)
    return cost


def storage_cost(byte_days: int, days_in_month: int, nanodollars_per_gib_month: int) -> int:
    """Price a day of keeping so many bytes, rounded half up; 1 GiB is 2^30 bytes.

    Raises:
        ValueError: a negative amount or price.
    """
    if byte_days < 0 or nanodollars_per_gib_month < 0 or days_in_month < 1:
        raise ValueError("bytes and price are not negative")
    return _divide(byte_days * nanodollars_per_gib_month, 2**30 * days_in_month)


def requests_cost(requests: int, nanodollars_per_thousand: int) -> int:
    """Price requests, rounded half up.

    Raises:
        ValueError: a negative number or price.
    """
    if requests < 0 or nanodollars_per_thousand < 0:
        raise ValueError("requests and price are not negative")
    return _divide(requests * nanodollars_per_thousand, 1000)


def nanoseconds(time: timedelta) -> int:
    """Return a duration as whole nanoseconds, exactly."""
    return time // timedelta(microseconds=1) * NANOSECONDS_PER_MICROSECOND


def share_evenly(total: int, parts: int) -> Sequence[int]:
    """Split a non-negative whole into parts that differ by one at most and add up to it.

    Raises:
        ValueError: no parts, or a negative total.
    """
    if parts < 1 or total < 0:
        raise ValueError("share a non-negative total among at least one")
    share, left = divmod(total, parts)
    return [share + (index < left) for index in range(parts)]


def share_by_weight(total: int, weights: Sequence[int]) -> Sequence[int]:
    """Split a whole in proportion to weights; the parts add up to it.

    Each part is what is due by its weight and those before it, less what those got: no part
    is off by more than one.

    Args:
        total: may be negative.
        weights: none negative, at least one positive.

    Raises:
        ValueError: they are not.
    """
    of_all = sum(weights)
    if of_all <= 0 or min(weights) < 0:
        raise ValueError("weights are not negative, and not all of them zero")
    parts, due, given = [], 0, 0
    for weight in weights:
        due += weight
        parts.append(_divide(total * due, of_all) - given)
        given += parts[-1]
    return parts


def parse_dollars(text: str) -> int:
    """Read an amount such as ``0.0765`` as nano-dollars, exactly.

    Raises:
        ValueError: it is no number, negative, finer than a nano-dollar, or too large.
    """
    if len(text) > MAX_AMOUNT_CHARACTERS:
        raise ValueError(f"an amount of dollars has at most {MAX_AMOUNT_CHARACTERS} characters")
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number of dollars") from None
    if not amount.is_finite():
        raise ValueError(f"{text!r} is not a number of dollars")
    if amount < 0:
        raise ValueError(f"{text} is negative")
    if amount > MAX_NANODOLLARS // NANODOLLARS:
        raise ValueError(f"{text} is more than {MAX_NANODOLLARS // NANODOLLARS:,} dollars")
    # As a fraction, since decimal arithmetic would round what has more digits than its context.
    is_tiny = bool(amount) and amount.adjusted() < -NANODOLLAR_DECIMALS
    nanodollars = Fraction(0 if is_tiny else amount) * NANODOLLARS
    if is_tiny or nanodollars.denominator != 1:
        raise ValueError(f"{text} is finer than a nano-dollar, which is 9 decimals")
    return nanodollars.numerator


def format_dollars(nanodollars: int, *, decimals: int = 6) -> str:
    """Write nano-dollars as dollars, rounded half up: ``$0.000123``."""
    if not 0 <= decimals <= NANODOLLAR_DECIMALS:
        raise ValueError("a nano-dollar has nine decimals")
    unit = 10 ** (NANODOLLAR_DECIMALS - decimals)
    sign = "-" if nanodollars < 0 else ""
    units = (abs(nanodollars) + unit // 2) // unit
    whole, fraction = divmod(units, 10**decimals)
    return f"{sign}${whole}.{fraction:0{decimals}d}" if decimals else f"{sign}${whole}"


def _divide(dividend: int, divisor: int) -> int:
    """Divide, rounded half up."""
    return (dividend + divisor // 2) // divisor
