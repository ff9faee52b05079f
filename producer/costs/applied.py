"""The prices that a batch was booked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from producer.amounts import usd
from shared.db.cost_tables import LedgerEntry, Price
from shared.db.settlement import online_until
from shared.db.tables import Attempt, Batch, Worker
from shared.domain.identifiers import NOBODY

Span = tuple[datetime, datetime]
"""From when to when; both are part of it."""
FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class AppliedPrice:
    """A price that was in force while a batch was drawn."""

    device_kind: str
    sku: str
    nanodollars_per_hour: int
    source: str
    is_example: bool
    """It came with tenstep: nobody has said what the device really costs."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "device_kind": self.device_kind,
            "sku": self.sku,
            "nanodollars_per_hour": self.nanodollars_per_hour,
            "usd_per_hour": usd(self.nanodollars_per_hour),
            "source": self.source,
            "is_example": self.is_example,
        }


def applied_prices(
    session: Session, batch_id: UUID, workers: Iterable[Worker], loaded: Collection[UUID]
) -> Sequence[AppliedPrice]:
    """Return the prices of a batch's workers that were in force when jobs of it were claimed.

    Args:
        session: reads.
        batch_id: the batch.
        workers: those that anything of the batch was booked for.
        loaded: ids of those whose loading of the model was booked for it: that is priced as of
            when they went online.
    """
    claims = _claims(session, batch_id)
    spans: dict[tuple[str, str], list[Span]] = defaultdict(list)
    for worker in workers:
        device = (worker.device_kind, worker.device_sku)
        if worker.id in loaded:
            spans[device].append((worker.online_at, worker.online_at))
        if claims is not None:
            begin = max(claims[0], worker.online_at)
            spans[device].append((begin, max(begin, min(claims[1], online_until(worker)))))
    return [
        AppliedPrice(
            price.device_kind,
            price.sku,
            price.nanodollars_per_hour,
            price.source,
            is_example=price.is_example,
        )
        for device in sorted(spans)
        for price in _in_force(session, *device, spans[device])
    ]


def _claims(session: Session, batch_id: UUID) -> Span | None:
    """Return when the first and the last of a batch's jobs were claimed."""
    claimed_at = select(Attempt.claimed_at).where(Attempt.batch_id == batch_id)
    first = session.scalar(claimed_at.order_by(Attempt.claimed_at).limit(1))
    last = session.scalar(claimed_at.order_by(Attempt.claimed_at.desc()).limit(1))
    found = [moment for moment in (first, last) if moment is not None]
    if session.get_one(Batch, batch_id).details_dropped_at is not None:
        # One line of each price, priced as of the first that it stands for.
        of_attempts = (LedgerEntry.batch_id == batch_id, LedgerEntry.attempt_id == NOBODY)
        found += session.scalars(select(LedgerEntry.priced_at).where(*of_attempts))
    return (min(found), max(found)) if found else None


def _in_force(
    session: Session, device_kind: str, sku: str, spans: Sequence[Span]
) -> Iterator[Price]:
    prices = session.scalars(
        select(Price)
        .where(Price.device_kind == device_kind, Price.sku == sku)
        .order_by(Price.effective_from)
    ).all()
    ends = [*(price.effective_from for price in prices[1:]), FOREVER]
    for price, until in zip(prices, ends, strict=False):
        if any(price.effective_from <= end and begin < until for begin, end in spans):
            yield price
