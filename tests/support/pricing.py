"""Prices that are set after the fact."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from shared.db.corrections import Corrected, correct
from shared.db.price_spans import PriceSpan
from shared.db.prices import keep_others_from_pricing, price_steps
from support.factories import add_price


def set_price(
    session: Session, begin: datetime, nanodollars_per_hour: int, kind: str = "cpu", sku: str = ""
) -> Corrected:
    """Set a price from a moment on, and correct what was booked since then."""
    keep_others_from_pricing(session)
    span = span_from(session, begin, kind, sku)
    price = add_price(
        session,
        device_kind=kind,
        sku=sku,
        nanodollars_per_hour=nanodollars_per_hour,
        effective_from=begin,
    )
    return correct(session, price, span)


def span_from(session: Session, begin: datetime, kind: str = "cpu", sku: str = "") -> PriceSpan:
    begins = [step.effective_from for step in price_steps(session, kind, sku)]
    return PriceSpan(kind, sku, begin, min((at for at in begins if at > begin), default=None))
