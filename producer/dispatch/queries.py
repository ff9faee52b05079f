"""What the dispatcher asks of SQL. No query reads more of a batch's jobs than it sends.

Each goes through an index that holds only jobs of one kind: unsent, sent, leased.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from producer.dispatch.fairness import OpenBatch
from shared.db.conditions import IS_LEASED, IS_OVER_BUDGET, IS_SENT, IS_UNSENT
from shared.db.cost_tables import TenantBudget
from shared.db.leases import JOBS, UNDISPATCHED, locked
from shared.db.many_rows import update_each
from shared.db.tables import Batch, Job
from shared.db.unsent import UNSENT_ORDER
from shared.domain.jobs import BatchControl
from shared.domain.sizes import Size, Sizes

WINDOW = 2_000
"""Unsent jobs of a batch that are looked at for some that can be drawn."""


def open_batches(session: Session, only_batch: UUID | None) -> list[OpenBatch]:
    """Find the active batches that have unsent jobs, oldest first; some may not be due."""
    of_tenant = select(TenantBudget.tenant).where(TenantBudget.tenant == Batch.tenant).exists()
    is_limited = or_(Batch.max_nanodollars.is_not(None), of_tenant)
    columns = (
        *(Batch.id, Batch.tenant, Batch.model, Batch.priority, Batch.deadline_at),
        *(is_limited, Batch.images_per_pass),
    )
    found = select(*columns).where(Batch.control == BatchControl.ACTIVE).order_by(Batch.id)
    if only_batch is None:
        found = found.where(Batch.id.in_(_batches_with(IS_UNSENT, UNSENT_ORDER)))
    else:
        unsent = select(Job.id).where(Job.batch_id == Batch.id, IS_UNSENT)
        found = found.where(Batch.id == only_batch, unsent.exists())
    return [OpenBatch(*row) for row in session.execute(found)]


def batches_over_budget(session: Session, only_batch: UUID | None) -> Sequence[UUID]:
    """Find the batches of which jobs are held for want of money."""
    order = (Job.batch_id, Job.position)
    if only_batch is None:
        return session.scalars(_batches_with(IS_OVER_BUDGET, order)).all()
    held = select(Job.batch_id).where(IS_OVER_BUDGET, Job.batch_id == only_batch).order_by(*order)
    return session.scalars(held.limit(1)).all()


def _batches_with(
    condition: ColumnElement[bool], order: Sequence[InstrumentedAttribute[Any]]
) -> Select[UUID]:
    """Step through an index from batch to batch: reads one job of each, not all of all.

    Args:
        condition: of the index.
        order: its columns, all of them: no other index has that order.
    """
    one = select(Job.batch_id).where(condition).order_by(*order).limit(1)
    first = one.subquery()
    steps = select(first.c.batch_id).cte("steps", recursive=True)
    following = one.where(Job.batch_id > steps.c.batch_id).scalar_subquery()
    steps = steps.union_all(select(following).where(steps.c.batch_id.is_not(None)))
    return select(steps.c.batch_id).where(steps.c.batch_id.is_not(None))


class UnsentJob(NamedTuple):
    """All that a chunk is made by: prompts are long, and there are many."""

    id: UUID
    width: int
    height: int
    scheduler: str
    steps: int
    squeeze: str | None
    guidance_scale: float
    quality: str
    fencing_token: int


UNSENT_JOB = select(*(getattr(Job, name) for name in UnsentJob._fields))


def jobs_to_send(
    session: Session, batch_id: UUID, limit: int, sizes: Sizes, now: datetime
) -> list[UnsentJob]:
    """Lock the next unsent jobs of an active batch: first those that are due once more.

    Args:
        session: writes.
        batch_id: the batch.
        limit: how many at most.
        sizes: which of its jobs can be drawn. Of those that cannot no more than `WINDOW` are
            looked at; jobs behind them wait until they are gone.
        now: the time.
    """
    active = select(Batch.id).where(Batch.id == batch_id, Batch.control == BatchControl.ACTIVE)
    # A batch that somebody is changing comes at the next look.
    if session.scalar(active.with_for_update(read=True, skip_locked=True)) is None:
        return []
    for is_next in (Job.not_before <= now, Job.not_before.is_(None)):
        unsent = and_(Job.batch_id == batch_id, IS_UNSENT, is_next)
        if sizes is None:
            found = UNSENT_JOB.where(unsent).order_by(*UNSENT_ORDER).limit(limit)
            rows = session.execute(found.with_for_update(skip_locked=True))
            jobs = [UnsentJob._make(row) for row in rows]
        else:
            jobs = _of_sizes(session, unsent, sizes, limit)
        if jobs:
            return jobs
    return []


def _of_sizes(
    session: Session, unsent: ColumnElement[bool], sizes: frozenset[Size], limit: int
) -> list[UnsentJob]:
    first = select(Job.id, Job.width, Job.height).where(unsent).order_by(*UNSENT_ORDER)
    window = session.execute(first.limit(WINDOW))
    ids = [job_id for job_id, width, height in window if (width, height) in sizes][:limit]
    if not ids:
        return []
    # Between the two looks somebody may have cancelled or held some. That is no condition: by it
    # Postgres might find them by the index of all unsent jobs.
    found = UNSENT_JOB.add_columns(IS_UNSENT).where(Job.id.in_(ids))
    rows = session.execute(found.with_for_update(skip_locked=True))
    by_id = {row.id: UnsentJob._make(row[:-1]) for row in rows if row[-1]}
    return [by_id[job_id] for job_id in ids if job_id in by_id]


def put_in_chunks(
    session: Session, chunks: Mapping[UUID, Sequence[UnsentJob]], queue: str, now: datetime
) -> None:
    """Record that locked jobs are sent in chunks.

    Args:
        session: writes.
        chunks: jobs by chunk, at least one.
        queue: where they are sent.
        now: when.
    """
    rows = [
        {"of_job": job.id, "chunk_id": chunk_id, "queue": queue, "dispatched_at": now}
        for chunk_id, jobs in chunks.items()
        for job in jobs
    ]
    update_each(session.connection(), PUT_IN_CHUNK, rows, {"of_job": "id"})


PUT_IN_CHUNK = (
    update(JOBS)
    .where(JOBS.c.id == bindparam("of_job"))
    .values({name: bindparam(name) for name in ("chunk_id", "queue", "dispatched_at")})
)
"""Made once, for it is remembered what it makes for many rows."""


def unsent_sizes(session: Session, batch_id: UUID) -> frozenset[Size]:
    """Return the sizes of the unsent jobs of a batch that `jobs_to_send` looks at."""
    unsent = and_(Job.batch_id == batch_id, IS_UNSENT)
    first = select(Job.width, Job.height).where(unsent).order_by(*UNSENT_ORDER).limit(WINDOW)
    return frozenset((width, height) for width, height in session.execute(first))


class Waiting(NamedTuple):
    """The chunks that were sent to a queue and that nobody has claimed yet."""

    chunks: int
    oldest_at: datetime | None
    """When the first of them was sent, if any is of the batch that was asked for."""


def chunks_waiting(session: Session, only_batch: UUID | None) -> dict[str, Waiting]:
    """Count the chunks of each queue, in one look.

    Args:
        session: reads.
        only_batch: whose oldest is told; None tells the oldest of all.
    """
    oldest = func.min(case((_of(only_batch), Job.dispatched_at)))
    counted = select(Job.queue, func.count(Job.chunk_id.distinct()), oldest).where(IS_SENT)
    rows = session.execute(counted.group_by(Job.queue))
    return {queue: Waiting(chunks, oldest_at) for queue, chunks, oldest_at in rows if queue}


def count_sent(session: Session, queue: str) -> int:
    """Count the chunks that were sent to a queue and that nobody has claimed yet."""
    chunks = select(func.count(Job.chunk_id.distinct())).where(Job.queue == queue, IS_SENT)
    return session.scalar(chunks) or 0


def jobs_under_way(session: Session, queue: str) -> dict[UUID, int]:
    """Count the jobs of each batch that are in a queue or in the hands of its workers."""
    under_way: dict[UUID, int] = {}
    for condition in (IS_SENT, IS_LEASED):
        rows = session.execute(
            select(Job.batch_id, func.count())
            .where(Job.queue == queue, condition)
            .group_by(Job.batch_id)
        )
        for batch_id, count in rows:
            under_way[batch_id] = under_way.get(batch_id, 0) + count
    return under_way


def tenants_of(session: Session, batch_ids: Iterable[UUID]) -> dict[UUID, str]:
    """Look up whose these batches are."""
    rows = session.execute(select(Batch.id, Batch.tenant).where(Batch.id.in_(list(batch_ids))))
    return {row.id: row.tenant for row in rows}


def chunks_sent_before(
    session: Session, queue: str, moment: datetime, only_batch: UUID | None
) -> dict[UUID, UUID]:
    """Return chunk to batch, of the chunks that nobody has claimed since ``moment``."""
    rows = session.execute(
        select(Job.chunk_id, Job.batch_id, func.min(Job.dispatched_at))
        .where(Job.queue == queue, IS_SENT, Job.dispatched_at < moment, _of(only_batch))
        .group_by(Job.chunk_id, Job.batch_id)
        .order_by(func.min(Job.dispatched_at))
    )
    return {chunk_id: batch_id for chunk_id, batch_id, _ in rows if chunk_id is not None}


def mark_sent_again(session: Session, chunk_ids: Iterable[UUID], now: datetime) -> None:
    """Let some time pass before these chunks may count as lost once more."""
    sent = locked(Job.chunk_id.in_(list(chunk_ids)), IS_SENT, skip=True)
    session.execute(
        update(Job).where(Job.id.in_(sent)).values(dispatched_at=now),
        execution_options={"synchronize_session": False},
    )


def take_back(session: Session, queues: Iterable[str], only_batch: UUID | None) -> None:
    """Make the jobs of these queues unsent, so that they go to others."""
    sent = locked(Job.queue.in_(list(queues)), IS_SENT, _of(only_batch), skip=True)
    session.execute(
        update(Job).where(Job.id.in_(sent)).values(**UNDISPATCHED),
        execution_options={"synchronize_session": False},
    )


def _of(only_batch: UUID | None) -> ColumnElement[bool]:
    return true() if only_batch is None else Job.batch_id == only_batch
