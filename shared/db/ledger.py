"""The books: append-only, one entry an event, so that a replay adds nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import cast
from uuid import UUID

from sqlalchemy import Insert, Table, Update, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.db.cost_sums import CostKey
from shared.db.cost_tables import LedgerEntry
from shared.db.many_rows import insert_each
from shared.db.model_tables import ModelLoad
from shared.db.prices import price_in_force
from shared.db.tables import Worker
from shared.db.tallies import note_cost
from shared.domain.identifiers import NOBODY, new_id
from shared.domain.jobs import LedgerKind
from shared.domain.money import device_cost

LEDGER = cast("Table", LedgerEntry.__table__)
PREFIX = "entry_"
"""Of the names of an entry's values, where a statement has others of the same name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the books, to be."""

    event_id: str
    """What happened; the same event is booked once."""
    kind: LedgerKind
    amount_nanodollars: int
    priced_at: datetime
    """The moment whose price was applied."""
    booked_at: datetime
    """Its day, in UTC, is the day that it counts for."""
    batch_id: UUID | None = None
    job_id: UUID | None = None
    attempt_id: UUID | None = None
    worker_id: UUID | None = None
    device_kind: str | None = None
    device_ns: int = 0
    nanodollars_per_hour: int = 0
    quantity: int | None = None

    @property
    def sum_of(self) -> CostKey:
        """The sum that it is a part of."""
        day = self.booked_at.astimezone(UTC).date()
        return CostKey(self.batch_id or NOBODY, self.worker_id, self.kind.value, day)


@dataclass(frozen=True, slots=True)
class Alongside:
    """A statement that is due whenever an entry is: on Postgres in the same round trip."""

    update: Update
    values: Mapping[str, object]


def append(session: Session, entry: Entry, along: Alongside | None = None) -> bool:
    """Append an entry, unless its event is booked already; returns whether it was not."""
    connection = session.connection()
    is_postgres = connection.dialect.name == "postgresql"
    if along is not None and not is_postgres:
        connection.execute(along.update, dict(along.values))
    update = along.update if along is not None and is_postgres else None
    insert = _insert_once(connection.dialect.name, update)
    parameters = {f"{PREFIX}{name}": value for name, value in _row(entry).items()}
    if along is not None and is_postgres:
        parameters |= along.values
    is_new = connection.execute(insert, parameters).first() is not None
    if is_new:
        note_cost(session, entry.sum_of, entry.device_ns, entry.amount_nanodollars)
    return is_new


def append_all(session: Session, entries: Sequence[Entry]) -> bool:
    """Append entries; False, with some of them appended, if one's event is booked already."""
    rows = [_row(entry) for entry in entries]
    if insert_each(session.connection(), LEDGER, rows, once_by="event_id") != len(entries):
        return False
    for entry in entries:
        note_cost(session, entry.sum_of, entry.device_ns, entry.amount_nanodollars)
    return True


def _row(entry: Entry) -> dict[str, object]:
    return {
        "id": new_id(),
        "event_id": entry.event_id,
        "kind": entry.kind.value,
        "batch_id": entry.batch_id,
        "job_id": entry.job_id,
        "attempt_id": entry.attempt_id,
        "worker_id": entry.worker_id,
        "device_kind": entry.device_kind,
        "device_ns": entry.device_ns,
        "nanodollars_per_hour": entry.nanodollars_per_hour,
        "quantity": entry.quantity,
        "amount_nanodollars": entry.amount_nanodollars,
        "priced_at": entry.priced_at,
        "created_at": entry.booked_at,
    }


@cache
def _insert_once(dialect: str, update: Update | None) -> Insert:
    """Make the statement once: that takes longer than to run it, and it runs for every image."""
    is_postgres = dialect == "postgresql"
    insert = (postgresql if is_postgres else sqlite).insert(LEDGER)
    insert = insert.values({column: bindparam(f"{PREFIX}{column.name}") for column in LEDGER.c})
    once = insert.on_conflict_do_nothing(index_elements=["event_id"])
    if update is not None:
        once = once.add_cte(update.cte("along"))
    return cast("Insert", once.returning(LEDGER.c.id))


def charge_model_load(
    session: Session,
    worker: Worker,
    batch_id: UUID,
    device_ns: int,
    now: datetime,
    *,
    later: ModelLoad | None = None,
) -> None:
    """Book a worker's loading of its model, once, to the first batch that it served.

    A later loading is booked to the batch that caused it.

    Raises:
        MissingPriceError: its device had no price when it loaded.
    """
    kind = worker.device_kind
    load_id, at = (worker.id, worker.online_at) if later is None else (later.id, later.loaded_at)
    rate = price_in_force(session, kind, worker.device_sku, at)
    append(
        session,
        Entry(
            event_id=f"model_load:{load_id}",
            kind=LedgerKind.MODEL_LOAD,
            batch_id=batch_id,
            worker_id=worker.id,
            device_kind=kind,
            device_ns=device_ns,
            nanodollars_per_hour=rate,
            amount_nanodollars=device_cost(device_ns, rate),
            priced_at=at,
            booked_at=now,
        ),
    )
