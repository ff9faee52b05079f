"""The devices that a plan can choose from: whatever has a price and a rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from producer.planning.offers import Offer, Work, on_spot
from producer.quote import WORST_LAST, Bought
from shared.db.cost_tables import Price
from shared.db.rates import read_rates
from shared.domain.rates import Basis, DeviceRate, Estimate, by_sku, estimate
from shared.errors import InputError, TenstepError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Terms:
    """What the user says of the devices that he can have; names are ``SKU`` or ``KIND:SKU``."""

    start_up_ns: int
    only: Sequence[str] = ()
    """Kinds or SKUs; empty is all."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Most devices."""
    spot_factor: Fraction | None = None
    """Share of the price that is paid for all that are not named in ``spot_factors``."""
    spot_factors: Mapping[str, Fraction] = field(default_factory=dict)
    interruptions_per_hour: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A device that cannot be considered."""

    device_kind: str
    sku: str
    reason: str


def by_reason(left_out: Sequence[LeftOut]) -> Mapping[str, Sequence[str]]:
    """Return the names of the devices that are left out for each reason."""
    names: dict[str, list[str]] = {}
    for left in left_out:
        names.setdefault(left.reason, []).append(f"{left.device_kind} {left.sku}".rstrip())
    return names


class NothingOnOfferError(TenstepError):
    """There is no device to plan with."""

    def __init__(self, model: str, left_out: Sequence[LeftOut]) -> None:
        listed = "; ".join(
            f"{', '.join(names)}: {reason}" for reason, names in by_reason(left_out).items()
        )
        super().__init__(
            f"no device has both a price and a rate for {model}"
            + (f" ({listed})" if listed else ""),
            hint="tenstep prices set says what a device costs; tenstep calibrate measures how "
            "fast it is, or a [[rate]] in the price file declares it.",
        )


@dataclass(frozen=True, slots=True)
class OnOffer:
    """What there is to choose from, and what is not."""

    offers: Sequence[Offer]
    left_out: Sequence[LeftOut]


def read_offers(session: Session, model: str, work: Work, terms: Terms, now: datetime) -> OnOffer:
    """Return every device that has a price in force and whose rate is known, or can be guessed.

    Args:
        session: where prices and rates are.
        model: whose images.
        work: which images, at least one.
        terms: what can be had, how, and how soon.
        now: whose prices.

    Raises:
        InputError: the terms name what has no price, or more than one.
        NothingOnOfferError: nothing is left.
    """
    prices = _prices(session, now)
    rates = by_sku(read_rates(session, model))
    names = _Names(prices)
    wanted = names.wanted(terms.only)
    limits = names.each_one("--limit", terms.limits)
    factors = dict.fromkeys(prices, terms.spot_factor) | names.each_one(
        "--spot", terms.spot_factors
    )
    offers, left_out = [], []
    for bought in sorted(wanted):
        price, most = prices[bought], limits.get(bought)
        reason = _why_not(price, rates.get(bought), most)
        if reason is not None:
            left_out.append(LeftOut(*bought, reason))
            continue
        offer = replace(_offer(price, rates[bought], work, terms), most=most)
        factor = factors[bought]
        if factor is not None:
            offer = on_spot(offer, factor, terms.interruptions_per_hour, work.chunk_size)
        offers.append(offer)
    if not offers:
        raise NothingOnOfferError(model, left_out)
    return OnOffer(offers, left_out)


def _prices(session: Session, now: datetime) -> Mapping[Bought, Price]:
    in_force = select(Price).where(Price.effective_from <= now).order_by(Price.effective_from)
    return {(price.device_kind, price.sku): price for price in session.scalars(in_force)}


def _why_not(price: Price, rates: Sequence[DeviceRate] | None, most: int | None) -> str | None:
    if not rates:
        return "no rate: tenstep calibrate, or a [[rate]] in the price file"
    if most == 0:
        return "--limit says that there is none"
    if not price.nanodollars_per_hour and most is None:
        return "it is free: say with --limit how many there are"
    return None


def _offer(price: Price, rates: Sequence[DeviceRate], work: Work, terms: Terms) -> Offer:
    expected = {
        shape: found
        for shape, images in work.images.items()
        if (found := estimate(rates, shape, images)) is not None
    }
    return Offer(
        price.device_kind,
        price.sku,
        price.nanodollars_per_hour,
        {shape: max(1, found.wall_ns.expected) for shape, found in expected.items()},
        {shape: max(1, found.wall_ns.high) for shape, found in expected.items()},
        max(found.load_ns for found in expected.values()),
        terms.start_up_ns,
        _worst_basis(expected.values()),
        is_example=price.is_example,
    )


def _worst_basis(expected: Iterable[Estimate]) -> Basis:
    return max((found.basis for found in expected), key=WORST_LAST.index)


class _Names:
    """What the user may call a device that has a price."""

    def __init__(self, known: Iterable[Bought]) -> None:
        self._known = sorted(known)

    def wanted(self, names: Sequence[str]) -> Sequence[Bought]:
        """Return what is of these kinds or SKUs; of all if none is named.

        Raises:
            InputError: a name is not known.
        """
        if not names:
            return self._known
        found = (bought for name in names for bought in self._found("--only", name))
        return list(dict.fromkeys(found))

    def each_one(self, option: str, values: Mapping[str, T]) -> dict[Bought, T]:
        """Return what is said of each device that is named.

        Raises:
            InputError: a name is not known, or not that of one device alone.
        """
        said: dict[Bought, T] = {}
        for name, value in values.items():
            found = self._found(option, name)
            if len(found) > 1:
                raise InputError(
                    f"{option} {name}: is more than one device: {self._listed(found)}",
                    hint="Name one of them.",
                )
            said[found[0]] = value
        return said

    def _found(self, option: str, name: str) -> Sequence[Bought]:
        found = [bought for bought in self._known if name and name in {*bought, ":".join(bought)}]
        if not found:
            raise InputError(
                f"{option} {name}: no such device has a price",
                hint=f"These have one: {self._listed(self._known)}." if self._known else None,
            )
        return found

    def _listed(self, bought: Sequence[Bought]) -> str:
        kinds = [kind for kind, _ in self._known]
        return ", ".join(
            f"{kind}:{sku}" if sku or kinds.count(kind) > 1 else kind for kind, sku in bought
        )
