"""The details of a batch that ended long ago, and how they are dropped.

Its jobs, its attempts and what is booked for each of these are most of what a database holds.
The batch, its counts and the sums of its costs stay, and so does a line in the books for each
worker, kind, day and price: the sum of those that were dropped, carried forward. So whatever is
added up of the books is the same to the nano-dollar, before, meanwhile and afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, Row, and_, delete, func, insert, select
from sqlalchemy.orm import Session

from shared.db.cost_sums import read_costs
from shared.db.ledger import LEDGER
from shared.db.tables import Attempt, Batch, Job, Worker
from shared.db.tallies import read_tally
from shared.domain.identifiers import NOBODY, new_id
from shared.domain.jobs import FINAL_STATES
from shared.errors import InputError

ROWS_AT_ONCE = 5_000
"""In one transaction: nobody waits long for it, and a kill loses no more."""
UNSYNCHRONIZED = {"synchronize_session": False}


class DetailsDroppedError(InputError):
    """What is asked for was removed with the details of its batch."""

    code = "details_dropped"


def require_details(batch: Batch) -> Batch:
    """Return a batch whose jobs are there.

    Raises:
        DetailsDroppedError: they were removed.
    """
    if batch.details_dropped_at is not None:
        raise DetailsDroppedError(
            f"batch {batch.id}: its details were removed on "
            f"{batch.details_dropped_at.date().isoformat()}",
            hint=f"Its counts and costs remain: tenstep status {batch.id}, tenstep cost {batch.id}",
        )
    return batch


def why_not_droppable(session: Session, batch_id: UUID) -> str | None:
    """Tell why what is booked for a batch cannot be carried forward; None if it can.

    Args:
        session: reads, all of it as of one moment.
        batch_id: a batch that has ended.
    """
    kept: dict[tuple[UUID | None, str], int] = {}
    for row in read_costs(session, batch_ids=[batch_id]):
        key = (row.worker_id, row.kind.value)
        kept[key] = kept.get(key, 0) + row.booked.nanodollars
    of_key = (LEDGER.c.worker_id, LEDGER.c.kind)
    lines = session.execute(
        select(*of_key, func.sum(LEDGER.c.amount_nanodollars), func.max(LEDGER.c.created_at))
        .where(LEDGER.c.batch_id == batch_id)
        .group_by(*of_key)
    ).all()
    if kept != {(worker_id, kind): int(amount) for worker_id, kind, amount, _ in lines}:
        return "its books do not add up"
    workers = select(Worker.id, Worker.settled_at).where(
        Worker.id.in_({line.worker_id for line in lines if line.worker_id is not None})
    )
    settled: dict[UUID, datetime | None] = dict(session.execute(workers).all())
    for worker_id, _, _, latest in lines:
        at = settled.get(worker_id)
        if worker_id is not None and (at is None or at < latest):
            return f"the books of worker {worker_id} are not complete up to its end"
    return None


def begin_to_drop(session: Session, batch_id: UUID, now: datetime) -> bool:
    """Write down that a batch's details are gone; False if it goes on after all, or was cut off.

    Who tries its jobs again waits for this or is waited for.
    """
    batch = session.scalar(
        select(Batch).where(Batch.id == batch_id).with_for_update(skip_locked=True)
    )
    if batch is None or batch.details_dropped_at is not None:
        return False
    counts = read_tally(session, batch_id).counts
    if any(count for state, count in counts.items() if state not in FINAL_STATES):
        return False
    batch.details_dropped_at = now
    session.flush()
    return True


def carry_lines_forward(session: Session, batch_id: UUID) -> int:
    """Put up to 5,000 lines of a batch's attempts together, by worker, kind, day and price.

    Lines of loads, storage and requests are no attempt's, and few: they stay as they are.

    Returns:
        How many; 0 when none is left.
    """
    _lock(session, batch_id)
    some = select(LEDGER.c.id).where(*_is_to_be_carried(batch_id)).limit(ROWS_AT_ONCE)
    lines = _taken_out(session, LEDGER.c.id.in_(some))
    if lines:
        events = {_carried_event(batch_id, line) for line in lines}
        before = _taken_out(session, LEDGER.c.event_id.in_(events))
        session.execute(insert(LEDGER), list(_put_together(batch_id, [*before, *lines])))
    return len(lines)


CARRIED: Sequence[ColumnElement[Any]] = (
    *(LEDGER.c.worker_id, LEDGER.c.kind, LEDGER.c.nanodollars_per_hour, LEDGER.c.device_kind),
    *(LEDGER.c.device_ns, LEDGER.c.amount_nanodollars, LEDGER.c.priced_at, LEDGER.c.created_at),
)
"""What is looked at of a line: to read all of it takes twice as long."""


def _taken_out(session: Session, which: ColumnElement[bool]) -> Sequence[Row[Any]]:
    return session.execute(delete(LEDGER).where(which).returning(*CARRIED)).all()


def _lock(session: Session, batch_id: UUID) -> None:
    """Let one drop what is next of a batch: another goes on after it."""
    session.execute(select(Batch.id).where(Batch.id == batch_id).with_for_update())


def _is_to_be_carried(batch_id: UUID) -> tuple[Any, ...]:
    return (
        LEDGER.c.batch_id == batch_id,
        LEDGER.c.attempt_id.is_not(None),
        LEDGER.c.attempt_id != NOBODY,
    )


class _Sum(NamedTuple):
    """What lines of a batch have in common that are put together."""

    worker_id: UUID
    kind: str
    day: date
    nanodollars_per_hour: int


def _sum_of(line: Row[Any]) -> _Sum:
    day = line.created_at.astimezone(UTC).date()
    return _Sum(line.worker_id, line.kind, day, line.nanodollars_per_hour)


def _carried_event(batch_id: UUID, line: Row[Any]) -> str:
    worker_id, *others = _sum_of(line)
    return ":".join(("carried", batch_id.hex, worker_id.hex, *map(str, others)))


def _put_together(batch_id: UUID, lines: Iterable[Row[Any]]) -> Iterable[Mapping[str, object]]:
    groups: dict[_Sum, list[Row[Any]]] = {}
    for line in lines:
        groups.setdefault(_sum_of(line), []).append(line)
    for key, group in groups.items():
        yield {
            "id": new_id(),
            "event_id": _carried_event(batch_id, group[0]),
            "kind": key.kind,
            "batch_id": batch_id,
            # Of several: None would be a line that is no attempt's.
            "attempt_id": NOBODY,
            "worker_id": key.worker_id,
            "device_kind": group[0].device_kind,
            "device_ns": sum(line.device_ns for line in group),
            "nanodollars_per_hour": key.nanodollars_per_hour,
            "amount_nanodollars": sum(line.amount_nanodollars for line in group),
            "priced_at": min(line.priced_at for line in group),
            "created_at": max(line.created_at for line in group),
        }


def drop_jobs(session: Session, batch_id: UUID) -> int:
    """Remove a batch's first jobs, up to 5,000 positions, with their attempts.

    Returns:
        How many; 0 when none is left.
    """
    _lock(session, batch_id)
    first = session.scalar(
        select(Job.position).where(Job.batch_id == batch_id).order_by(Job.position).limit(1)
    )
    if first is None:
        return 0
    here = and_(Job.batch_id == batch_id, Job.position < first + ROWS_AT_ONCE)
    session.execute(
        delete(Attempt).where(Attempt.job_id.in_(select(Job.id).where(here))),
        execution_options=UNSYNCHRONIZED,
    )
    gone = session.execute(delete(Job).where(here), execution_options=UNSYNCHRONIZED)
    return cast("CursorResult[Any]", gone).rowcount
