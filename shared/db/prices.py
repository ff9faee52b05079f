"""The price book: what an hour of a device costs, from which moment on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, ScalarSelect, bindparam, select, text
from sqlalchemy.orm import Session

from shared.db.cost_tables import Price
from shared.domain.money import PriceStep
from shared.errors import ConfigurationError


def price_of(device_kind: ColumnElement[str], sku: ColumnElement[str]) -> ScalarSelect[int]:
    """Select nano-dollars an hour of a device at the time that is the parameter ``at``.

    None where nobody has set a price: see `price_in_force`.
    """
    return (
        select(Price.nanodollars_per_hour)
        .where(
            Price.device_kind == device_kind,
            Price.sku == sku,
            Price.effective_from <= bindparam("at"),
        )
        .order_by(Price.effective_from.desc())
        .limit(1)
        .scalar_subquery()
    )


PRICE = select(price_of(bindparam("kind"), bindparam("of_sku")))
"""Made once: that takes longer than to run it."""


class MissingPriceError(ConfigurationError):
    """Nobody has said what a device costs: nothing about its cost can be told, least of all 0."""

    def __init__(self, device_kind: str, sku: str) -> None:
        option = f" --sku {sku}" if sku else ""
        super().__init__(
            f"no price is set for {device_name(device_kind, sku)}",
            hint=f"Set one: tenstep prices set {device_kind}{option} --usd-per-hour AMOUNT",
        )


def device_name(device_kind: str, sku: str) -> str:
    """Name what a price is for: ``cuda g5.xlarge``."""
    return f"device kind {device_kind!r}, SKU {sku!r}" if sku else f"device kind {device_kind!r}"


def price_in_force(session: Session, device_kind: str, sku: str, at: datetime) -> int:
    """Return nano-dollars an hour of a device at a time.

    The price of a SKU is its own: that of another, or of its kind, may be many times as high.

    Raises:
        MissingPriceError: nobody has set one.
    """
    asked = {"kind": device_kind, "of_sku": sku, "at": at}
    price = session.connection().scalar(PRICE, asked)
    if price is None:
        raise MissingPriceError(device_kind, sku)
    return int(price)


def price_steps(session: Session, device_kind: str, sku: str) -> Sequence[PriceStep]:
    """Return all prices of a device, in the order of time."""
    rows = session.execute(
        select(Price.effective_from, Price.nanodollars_per_hour)
        .where(Price.device_kind == device_kind, Price.sku == sku)
        .order_by(Price.effective_from)
    )
    return [PriceStep(effective_from, nanodollars) for effective_from, nanodollars in rows]


def keep_others_from_pricing(session: Session) -> None:
    """Let nobody look up a price until this transaction ends.

    So whoever claims a job either did before a new price, at a time before it, or sees it.
    SQLite has one writer at a time, from its transaction's beginning, which is here.
    """
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE price IN ACCESS EXCLUSIVE MODE"))
