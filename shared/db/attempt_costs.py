"""What an attempt costs: its device time at the price in force when it was claimed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from shared.db.ledger import Alongside, Entry, append
from shared.db.prices import price_in_force
from shared.db.tables import Attempt, Worker
from shared.domain.jobs import LedgerKind
from shared.domain.money import device_cost


@dataclass(frozen=True, slots=True)
class AttemptToCharge:
    """What has to be known of an attempt to book it."""

    id: UUID
    batch_id: UUID
    job_id: UUID
    worker_id: UUID
    device_kind: str
    claimed_at: datetime
    nanodollars_per_hour: int
    """In force when it was claimed."""

    def cost(self, device_ns: int) -> int:
        """Price its device time, in nano-dollars."""
        return device_cost(device_ns, self.nanodollars_per_hour)


def charge(
    session: Session,
    attempt: AttemptToCharge,
    kind: LedgerKind,
    device_ns: int,
    now: datetime,
    along: Alongside | None = None,
) -> int:
    """Book an attempt's device time, unless it is booked; returns nano-dollars."""
    amount = attempt.cost(device_ns)
    entry = _entry(attempt, kind, _event_of(attempt), device_ns, amount, now)
    append(session, entry, along)
    return amount


def render_entry(attempt: AttemptToCharge, device_ns: int, now: datetime) -> Entry:
    """Return the line of an attempt that ended in an image."""
    amount = attempt.cost(device_ns)
    event_id = _event_of(attempt)
    return _entry(attempt, LedgerKind.RENDER, event_id, device_ns, amount, now)


def _event_of(attempt: AttemptToCharge) -> str:
    return f"attempt:{attempt.id}"


def charge_loaded(
    session: Session, attempt: Attempt, kind: LedgerKind, device_ns: int, now: datetime
) -> None:
    """Book an attempt that was read from the database.

    One that was booked when it was given up, and comes to an end after all, took longer than
    was known by then: the rest of its time is booked as a duplicate, once.
    """
    known = _loaded(session, attempt)
    if attempt.cost_nanodollars is None:
        attempt.device_ns = device_ns
        attempt.cost_nanodollars = charge(session, known, kind, device_ns, now)
        return
    more = device_ns - (attempt.device_ns or 0)
    if more <= 0:
        return
    amount = known.cost(device_ns) - attempt.cost_nanodollars
    entry = _entry(known, LedgerKind.DUPLICATE, f"late:{attempt.id}", more, amount, now)
    if append(session, entry):
        attempt.device_ns = device_ns
        attempt.cost_nanodollars += amount


def _loaded(session: Session, attempt: Attempt) -> AttemptToCharge:
    if attempt.nanodollars_per_hour is None:
        # Claimed by a version that looked prices up later.
        sku = session.get_one(Worker, attempt.worker_id).device_sku
        attempt.nanodollars_per_hour = price_in_force(
            session, attempt.device_kind, sku, attempt.claimed_at
        )
    return AttemptToCharge(
        attempt.id,
        attempt.batch_id,
        attempt.job_id,
        attempt.worker_id,
        attempt.device_kind,
        attempt.claimed_at,
        attempt.nanodollars_per_hour,
    )


def _entry(
    attempt: AttemptToCharge,
    kind: LedgerKind,
    event_id: str,
    device_ns: int,
    amount: int,
    now: datetime,
) -> Entry:
    return Entry(
        event_id=event_id,
        kind=kind,
        batch_id=attempt.batch_id,
        job_id=attempt.job_id,
        attempt_id=attempt.id,
        worker_id=attempt.worker_id,
        device_kind=attempt.device_kind,
        device_ns=device_ns,
        nanodollars_per_hour=attempt.nanodollars_per_hour,
        amount_nanodollars=amount,
        priced_at=attempt.claimed_at,
        booked_at=now,
    )
