"""Money as programs read it."""

from __future__ import annotations

from shared.domain.money import format_dollars


def usd(nanodollars: int) -> str:
    """Write nano-dollars as an exact decimal number of dollars: ``0.000123456``."""
    return format_dollars(nanodollars, decimals=9).replace("$", "")
