"""What keeping images costs, and writing them: booked by batch when a day is over.

Only while a rate is set: the object store may be a disk that is paid for anyway. Booked is what
workers have stored, thumbnails too; not the requests that read it, nor the thumbnails that are
made of older images when somebody looks.
"""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from shared.db.cost_sums import read_costs
from shared.db.cost_tables import CostSum, StoreRate
from shared.db.ledger import Entry, append
from shared.db.outcomes import THUMBNAIL
from shared.db.tables import Attempt, Batch
from shared.db.tallies import read_tallies
from shared.domain.jobs import AttemptOutcome, LedgerKind
from shared.domain.money import requests_cost, storage_cost

DAY = timedelta(days=1)
MOST_BACK = timedelta(days=31)
BATCHES_AT_ONCE = 500


def book_storage(session: Session, last: date) -> None:
    """Book what every batch's images cost on the days that are over, each day once, in UTC.

    Storage is priced by the bytes that are there by now: a day is booked soon after its end.
    Days that nobody booked then, a month of them at most, are booked with the bytes of today.

    Args:
        session: writes.
        last: the last day that is over.
    """
    rates = session.scalars(select(StoreRate).order_by(StoreRate.effective_from)).all()
    if not rates:
        return
    since = max(_last_booked(session) or rates[0].effective_from.date(), last - MOST_BACK)
    for days in range((last - since).days + 1):
        end = datetime.combine(since + days * DAY + DAY, time(), UTC)
        in_force = [rate for rate in rates if rate.effective_from < end]
        for batch_ids in _batches_before(session, end) if in_force else ():
            _book_batches(session, batch_ids, in_force[-1], end)


def _last_booked(session: Session) -> date | None:
    """Return a day that was booked; after it there may be more, and it may be incomplete."""
    return session.scalar(
        select(func.max(CostSum.day)).where(
            CostSum.kind.in_((LedgerKind.STORAGE, LedgerKind.REQUESTS))
        )
    )


def _batches_before(session: Session, end: datetime) -> Iterator[list[UUID]]:
    # With the details its images went.
    has_images = or_(Batch.details_dropped_at.is_(None), Batch.details_dropped_at >= end)
    ids = session.scalars(select(Batch.id).where(Batch.created_at < end, has_images)).all()
    for start in range(0, len(ids), BATCHES_AT_ONCE):
        yield list(ids[start : start + BATCHES_AT_ONCE])


def _book_batches(session: Session, batch_ids: list[UUID], rate: StoreRate, end: datetime) -> None:
    day = (end - DAY).date()
    days_in_month = monthrange(day.year, day.month)[1]
    written: Counter[UUID | None] = Counter()
    for row in read_costs(session, batch_ids=batch_ids, since=day, until=day):
        if row.kind is LedgerKind.RENDER:
            written[row.batch_id] += row.booked.entries
    for batch_id, tally in read_tallies(session, batch_ids).items():
        kept, images = tally.image_bytes, written[batch_id]
        requests = images * _requests_an_image(session, batch_id, end) if images else 0
        per_month, per_thousand = (
            rate.nanodollars_per_gib_month,
            rate.nanodollars_per_thousand_requests,
        )
        keeping = storage_cost(kept, days_in_month, per_month)
        writing = requests_cost(requests, per_thousand)
        _book(session, LedgerKind.STORAGE, batch_id, end, kept, keeping)
        _book(session, LedgerKind.REQUESTS, batch_id, end, requests, writing)


def _requests_an_image(session: Session, batch_id: UUID, end: datetime) -> int:
    """Tell by the last image of a batch before a moment whether each comes with a thumbnail.

    So one row is read however many images there are; workers of one batch are set alike.
    """
    record = session.scalar(
        select(Attempt.record)
        .where(
            Attempt.batch_id == batch_id,
            Attempt.claimed_at < end,
            Attempt.outcome == AttemptOutcome.DONE,
        )
        .order_by(Attempt.claimed_at.desc())
        .limit(1)
    )
    return 2 if record and record.get(THUMBNAIL) else 1


def _book(
    session: Session,
    kind: LedgerKind,
    batch_id: UUID,
    end: datetime,
    quantity: int,
    amount: int,
) -> None:
    if not quantity:
        return
    last_moment = end - timedelta(microseconds=1)
    append(
        session,
        Entry(
            event_id=f"{kind.value}:{batch_id}:{last_moment.date()}",
            kind=kind,
            batch_id=batch_id,
            quantity=quantity,
            amount_nanodollars=amount,
            priced_at=last_moment,
            booked_at=last_moment,
        ),
    )
