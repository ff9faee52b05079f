"""Amounts, counts and times as a page writes them."""

from __future__ import annotations

from datetime import datetime

from producer.plan_words import dollars as dollars_or_less
from producer.plan_words import duration
from shared.domain.money import NANOSECONDS, format_dollars

NANODOLLAR_DECIMALS = 9
KIB = 1024
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
NOTHING = "\N{EN DASH}"
AGES = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
"""Units, in seconds."""
FEW = 100
"""Rates below it have a decimal."""


def count(number: int) -> str:
    """Write a whole number: ``1,234``."""
    return f"{number:,}"


def dollars(nanodollars: int) -> str:
    """Write an amount with as many decimals as it needs to be read: ``$0`` is nothing."""
    return dollars_or_less(nanodollars) if nanodollars else "$0"


def exact(nanodollars: int) -> str:
    """Write an amount to the nano-dollar."""
    return format_dollars(nanodollars, decimals=NANODOLLAR_DECIMALS)


def span(seconds: float) -> str:
    """Write a time with its two largest units: ``5 h 58 min``."""
    return duration(round(seconds * NANOSECONDS))


def milliseconds(nanoseconds: int) -> str:
    """Write a short time: ``12.3 ms``, or in seconds from one on."""
    if nanoseconds >= NANOSECONDS:
        return f"{nanoseconds / NANOSECONDS:,.2f} s"
    return f"{nanoseconds / 1_000_000:.1f} ms"


def rate(per_second: float | None) -> str:
    """Write how fast images are drawn, in the unit that makes it a readable number."""
    if not per_second:
        return NOTHING
    if per_second >= 1:
        return f"{per_second:,.1f} / s" if per_second < FEW else f"{per_second:,.0f} / s"
    return f"{per_second * 3600:,.0f} / h"


def size(number: int) -> str:
    """Write bytes in the largest unit that leaves one: ``1.2 MiB``."""
    value, unit = float(number), UNITS[0]
    for larger in UNITS[1:]:
        if value < KIB:
            break
        value, unit = value / KIB, larger
    return f"{number:,} bytes" if unit == UNITS[0] else f"{value:,.1f} {unit}"


def ago(moment: datetime, now: datetime) -> str:
    """Write how long ago something was, in the largest unit that it fills."""
    seconds = int((now - moment).total_seconds())
    for name, length in AGES:
        if seconds >= length:
            return f"{seconds // length} {name} ago"
    return "now"


def moment(time: datetime) -> str:
    """Write a time in UTC, to the second."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def share(part: float, whole: float) -> float:
    """Return a part in per cent, for the length of a bar."""
    return round(100 * part / whole, 3) if whole else 0.0


FILTERS = {
    "ago": ago,
    "count": count,
    "dollars": dollars,
    "exact": exact,
    "milliseconds": milliseconds,
    "moment": moment,
    "rate": rate,
    "share": share,
    "size": size,
    "span": span,
}
"""By their names in templates."""
