"""What a plan is made of, in words and figures that are short."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from shared.domain.money import (
    NANODOLLAR_DECIMALS,
    NANODOLLARS,
    NANOSECONDS,
    format_dollars,
)

if TYPE_CHECKING:
    from producer.planning.fleet import Fleet
    from producer.planning.offers import Offer

UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
ENOUGH_UNITS = 100
"""An amount that is so many of its last decimal is written to a percent."""


def duration(nanoseconds: int) -> str:
    """Write a time with its two largest units, rounded half up: ``5 h 58 min``."""
    seconds = (nanoseconds + NANOSECONDS // 2) // NANOSECONDS
    for (large, in_large), (small, in_small) in pairwise(UNITS):
        if seconds >= in_large:
            smalls = (seconds + in_small // 2) // in_small
            whole, rest = divmod(smalls, in_large // in_small)
            return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"
    return f"{seconds} s"


def fleet_name(fleet: Fleet) -> str:
    """Name all its devices: ``2 x cuda g5.xlarge + 1 x cpu``."""
    return " + ".join(f"{hired.devices:,} x {offer_name(hired.offer)}" for hired in fleet.hired)


def offer_name(offer: Offer) -> str:
    """Name a device, and how it is bought: ``cuda g5.xlarge spot``."""
    return f"{offer.name} spot" if offer.is_spot else offer.name


def dollars(nanodollars: int) -> str:
    """Write an amount with as many decimals as it needs to be read."""
    return format_dollars(nanodollars, decimals=decimals_of(nanodollars))


def decimals_of(nanodollars: int) -> int:
    """Return how many decimals leave an amount readable and no more than a percent off."""
    for decimals in (2, 4, 6):
        if nanodollars * 10**decimals >= ENOUGH_UNITS * NANODOLLARS:
            return decimals
    return NANODOLLAR_DECIMALS
