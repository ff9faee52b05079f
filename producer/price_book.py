"""The price book: what devices and the object store cost, and cost from when on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from producer.amounts import usd
from producer.price_file import CURRENCY
from shared.db.cost_tables import DeclaredRate, Price, StoreRate
from shared.domain.money import NANOSECONDS


class Standing(StrEnum):
    """Whether a price is in force."""

    PAST = "past"
    IN_FORCE = "in force"
    TO_COME = "to come"


@dataclass(frozen=True, slots=True)
class Book:
    """All of the price book, each part in the order of devices and time."""

    prices: Sequence[tuple[Price, Standing]]
    stores: Sequence[tuple[StoreRate, Standing]]
    rates: Sequence[DeclaredRate]

    def without_past(self) -> Book:
        """Leave out what is no longer in force."""
        return Book(
            [row for row in self.prices if row[1] is not Standing.PAST],
            [row for row in self.stores if row[1] is not Standing.PAST],
            self.rates,
        )


def read_book(session: Session, now: datetime) -> Book:
    """Read all of it, and tell what is in force now."""
    by_device: dict[tuple[str, str], list[Price]] = defaultdict(list)
    order = (Price.device_kind, Price.sku, Price.effective_from)
    for price in session.scalars(select(Price).order_by(*order)):
        by_device[price.device_kind, price.sku].append(price)
    stores = session.scalars(select(StoreRate).order_by(StoreRate.effective_from)).all()
    rates = session.scalars(select(DeclaredRate).order_by(*DeclaredRate.__table__.primary_key))
    return Book(
        [
            (price, standing)
            for prices in by_device.values()
            for price, standing in zip(prices, _standings(prices, now), strict=True)
        ],
        list(zip(stores, _standings(stores, now), strict=True)),
        rates.all(),
    )


def _standings(steps: Sequence[Price | StoreRate], now: datetime) -> list[Standing]:
    begun = sum(step.effective_from <= now for step in steps)
    past = max(0, begun - 1)
    to_come = len(steps) - begun
    in_force = len(steps) - past - to_come
    return [Standing.PAST] * past + [Standing.IN_FORCE] * in_force + [Standing.TO_COME] * to_come


def exact(nanodollars: int) -> str:
    """Write an amount of dollars with all decimals that it has, two at least: ``1.006``."""
    whole, _, decimals = usd(nanodollars).partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def seconds(nanoseconds: int) -> str:
    """Write a time with all decimals that it has: ``0.52``."""
    whole, fraction = divmod(nanoseconds, NANOSECONDS)
    return f"{whole}.{fraction:09d}".rstrip("0").rstrip(".")


def to_document(book: Book) -> dict[str, Any]:
    """Return the book as the document of a price file. Amounts are text, times aware."""
    return {
        "currency": CURRENCY,
        "price": [_price_fields(price) for price, _ in book.prices],
        "store": [_store_fields(store) for store, _ in book.stores],
        "rate": [_rate_fields(rate) for rate in book.rates],
    }


def _price_fields(price: Price) -> dict[str, Any]:
    return {
        "kind": price.device_kind,
        **({"sku": price.sku} if price.sku else {}),
        "usd_per_hour": exact(price.nanodollars_per_hour),
        **_since(price),
        **({"example": True} if price.is_example else {}),
    }


def _store_fields(store: StoreRate) -> dict[str, Any]:
    return {
        "usd_per_gib_month": exact(store.nanodollars_per_gib_month),
        "usd_per_thousand_requests": exact(store.nanodollars_per_thousand_requests),
        **_since(store),
    }


def _since(step: Price | StoreRate) -> dict[str, Any]:
    read_on = {"source_date": step.source_date} if step.source_date else {}
    return {"from": step.effective_from, "source": step.source, **read_on}


def _rate_fields(rate: DeclaredRate) -> dict[str, Any]:
    return {
        "kind": rate.device_kind,
        **({"sku": rate.sku} if rate.sku else {}),
        **{name: getattr(rate, name) for name in ("model", "width", "height", "iterations")},
        "seconds_per_image": seconds(rate.device_ns),
        "load_seconds": seconds(rate.load_ns),
        "source": rate.source,
    }


def moment_text(moment: datetime) -> str:
    """Write a time in UTC, without what is zero: ``2026-12-01`` or ``2026-12-01 09:00 UTC``."""
    at = moment.astimezone(UTC)
    if at.time() == time():
        return str(at.date())
    precision = "seconds" if at.second or at.microsecond else "minutes"
    return f"{at.replace(tzinfo=None).isoformat(' ', precision)} UTC"
