"""Money is a whole number of nano-dollars; device time a whole number of nanoseconds."""

from __future__ import annotations

from collections.abc import Sequence

NANODOLLARS = 1_000_000_000
NANODOLLAR_DECIMALS = 9
NANOSECONDS = 1_000_000_000
NANOSECONDS_PER_HOUR = 3600 * NANOSECONDS


def device_cost(device_ns: int, nanodollars_per_hour: int) -> int:
    """Price device time, rounded half up to a nano-dollar.

    Raises:
        ValueError: a negative time or price.
    """
    if device_ns < 0 or nanodollars_per_hour < 0:
        raise ValueError("device time and price are not negative")
    return (device_ns * nanodollars_per_hour + NANOSECONDS_PER_HOUR // 2) // NANOSECONDS_PER_HOUR


def share_evenly(total: int, parts: int) -> Sequence[int]:
    """Split a non-negative whole into parts that differ by one at most and add up to it.

    Raises:
        ValueError: no parts, or a negative total.
    """
    if parts < 1 or total < 0:
        raise ValueError("share a non-negative total among at least one")
    share, left = divmod(total, parts)
    return [share + (index < left) for index in range(parts)]


def format_dollars(nanodollars: int, *, decimals: int = 6) -> str:
    """Write nano-dollars as dollars, rounded half up: ``$0.000123``."""
    if not 0 <= decimals <= NANODOLLAR_DECIMALS:
        raise ValueError("a nano-dollar has nine decimals")
    unit = 10 ** (NANODOLLAR_DECIMALS - decimals)
    sign = "-" if nanodollars < 0 else ""
    units = (abs(nanodollars) + unit // 2) // unit
    whole, fraction = divmod(units, 10**decimals)
    return f"{sign}${whole}.{fraction:0{decimals}d}" if decimals else f"{sign}${whole}"
