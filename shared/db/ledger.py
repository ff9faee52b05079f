"""The books: append-only, one entry an event, so that a replay adds nothing."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import cast
from uuid import UUID

from sqlalchemy import Executable, Table, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.db.tables import Attempt, LedgerEntry, Price, Worker
from shared.db.tallies import note_cost
from shared.domain.identifiers import new_id
from shared.domain.jobs import LedgerKind
from shared.domain.money import device_cost
from shared.errors import ConfigurationError

# Statements that every image needs are made once: making one takes longer than to run it.
PRICE = (
    select(Price.nanodollars_per_hour)
    .where(Price.device_kind == bindparam("kind"), Price.effective_from <= bindparam("at"))
    .order_by(Price.effective_from.desc())
    .limit(1)
)


def price_in_force(session: Session, device_kind: str, at: datetime) -> int:
    """Return nano-dollars an hour of a kind of device at a time.

    Raises:
        ConfigurationError: nobody has set a price for that kind.
    """
    price = session.connection().scalar(PRICE, {"kind": device_kind, "at": at})
    if price is None:
        raise ConfigurationError(f"no price is set for device kind {device_kind!r}")
    return int(price)


def charge_attempt(session: Session, attempt: Attempt, kind: LedgerKind, now: datetime) -> None:
    """Book an attempt's device time at the price in force, once."""
    if attempt.cost_nanodollars is not None:
        return
    device_ns = attempt.device_ns or 0
    rate = price_in_force(session, attempt.device_kind, now)
    attempt.nanodollars_per_hour = rate
    attempt.cost_nanodollars = device_cost(device_ns, rate)
    _append(
        session,
        event_id=f"attempt:{attempt.id}",
        kind=kind,
        batch_id=attempt.batch_id,
        job_id=attempt.job_id,
        attempt_id=attempt.id,
        worker_id=attempt.worker_id,
        device_kind=attempt.device_kind,
        device_ns=device_ns,
        nanodollars_per_hour=rate,
        amount_nanodollars=attempt.cost_nanodollars,
        created_at=now,
    )


def charge_model_load(
    session: Session, worker: Worker, batch_id: UUID, device_ns: int, now: datetime
) -> None:
    """Book a worker's loading of its model, once, to the first batch that it served."""
    rate = price_in_force(session, worker.device_kind, now)
    _append(
        session,
        event_id=f"model_load:{worker.id}",
        kind=LedgerKind.MODEL_LOAD,
        batch_id=batch_id,
        job_id=None,
        attempt_id=None,
        worker_id=worker.id,
        device_kind=worker.device_kind,
        device_ns=device_ns,
        nanodollars_per_hour=rate,
        amount_nanodollars=device_cost(device_ns, rate),
        created_at=now,
    )


def _append(session: Session, *, batch_id: UUID, amount_nanodollars: int, **values: object) -> None:
    entry = {"batch_id": batch_id, "amount_nanodollars": amount_nanodollars, **values}
    connection = session.connection()
    appended = connection.execute(_insert_once(connection.dialect.name), {"id": new_id(), **entry})
    if appended.first() is not None:
        note_cost(session, batch_id, amount_nanodollars)


@cache
def _insert_once(dialect: str) -> Executable:
    ledger = cast("Table", LedgerEntry.__table__)
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    once = insert(ledger).on_conflict_do_nothing(index_elements=["event_id"])
    return once.returning(ledger.c.id)
