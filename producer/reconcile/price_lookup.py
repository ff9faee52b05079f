"""The whole price book in memory, for a proof that looks up a price a million times."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.cost_tables import Price
from shared.db.prices import MissingPriceError
from shared.domain.money import PriceStep


class PriceLookup:
    """Finds the price in force, as the books have it."""

    def __init__(self, session: Session) -> None:
        self._steps: dict[tuple[str, str], list[PriceStep]] = {}
        self._begins: dict[tuple[str, str], list[datetime]] = {}
        for price in session.scalars(select(Price).order_by(Price.effective_from)):
            key = (price.device_kind, price.sku)
            step = PriceStep(price.effective_from, price.nanodollars_per_hour)
            self._steps.setdefault(key, []).append(step)
            self._begins.setdefault(key, []).append(price.effective_from)

    def steps(self, device_kind: str, sku: str) -> Sequence[PriceStep]:
        """Return all prices of a device, in the order of time; none if it has none."""
        return self._steps.get((device_kind, sku), [])

    def at(self, device_kind: str, sku: str, moment: datetime) -> int:
        """Return nano-dollars an hour.

        Raises:
            MissingPriceError: there is no price for that moment.
        """
        key = (device_kind, sku)
        index = bisect_right(self._begins.get(key, []), moment)
        if not index:
            raise MissingPriceError(device_kind, sku)
        return self._steps[key][index - 1].nanodollars_per_hour
