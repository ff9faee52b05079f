"""Workers: registered, alive, drained, stopping, stopped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, bindparam, func, or_, select, union, update
from sqlalchemy.orm import Session

from shared.db.conditions import IS_LEASED
from shared.db.model_tables import WorkerModel
from shared.db.served_models import Served, served_by, serves
from shared.db.settlement import settle_worker
from shared.db.tables import Job, Worker

WORKERS = cast("Table", Worker.__table__)


class Crew(NamedTuple):
    """How many live workers serve a model."""

    ready: int
    """Those that take jobs."""
    drained: int
    """Those that take none until somebody resumes them."""


def live_workers(session: Session, now: datetime, silence: timedelta) -> Sequence[Worker]:
    """Return workers that have not stopped and are of use.

    That a process lives is not enough: within ``silence`` it has given a sign of life, and
    has polled its queue or holds a job, which keeps it from polling.
    """
    alive = select(Worker).where(is_alive(now, silence)).order_by(Worker.id)
    return session.scalars(alive).all()


def live_models(session: Session, now: datetime, silence: timedelta) -> Sequence[Served]:
    """Return the models of the `live_workers`."""
    return served_by(session, live_workers(session, now, silence))


def live_kinds(session: Session, now: datetime, silence: timedelta) -> Sequence[tuple[str, str]]:
    """Return device kind and model of the `live_models`, each pair once: it reads no whole rows."""
    lives = is_alive(now, silence)
    first = select(Worker.device_kind, Worker.model).where(lives)
    others = select(Worker.device_kind, WorkerModel.model).where(
        WorkerModel.worker_id == Worker.id, lives
    )
    return [(kind, model) for kind, model in session.execute(union(first, others))]


def is_live(session: Session, now: datetime, silence: timedelta, worker_id: UUID) -> bool:
    """Tell whether a worker is one of the `live_workers`."""
    alive = select(Worker.id).where(Worker.id == worker_id, is_alive(now, silence))
    return session.scalar(alive) is not None


def is_live_host(session: Session, now: datetime, silence: timedelta, host: str) -> bool:
    """Tell whether one of the `live_workers` is on a host."""
    alive = select(Worker.id).where(Worker.host == host, is_alive(now, silence))
    return session.scalar(alive.limit(1)) is not None


def count_workers(session: Session, now: datetime, silence: timedelta, model: str) -> Crew:
    """Count the live workers that serve a model; those that are stopping are no longer of use."""
    is_ready = Worker.draining.is_(False)
    is_drained = and_(Worker.draining, Worker.stopping_at.is_(None))
    counts = select(func.count().filter(is_ready), func.count().filter(is_drained))
    of_model = counts.select_from(Worker).where(serves(model), is_alive(now, silence))
    ready, drained = session.execute(of_model).one()
    return Crew(ready, drained)


def count_ready_workers(session: Session, now: datetime, silence: timedelta, model: str) -> int:
    """Count the live workers that serve a model and take jobs."""
    return count_workers(session, now, silence, model).ready


def is_alive(now: datetime, silence: timedelta) -> ColumnElement[bool]:
    """Return the condition that a worker is one of the `live_workers`."""
    # All at once: leased jobs have no index by worker.
    holds_a_job = Worker.id.in_(select(Job.worker_id).where(IS_LEASED))
    polls = or_(Worker.polled_at.is_(None), Worker.polled_at >= now - silence)
    return and_(
        Worker.stopped_at.is_(None),
        Worker.heartbeat_at >= now - silence,
        or_(polls, holds_a_job),
    )


def record_poll(session: Session, worker_ids: Sequence[UUID], now: datetime) -> None:
    """Record that workers asked their queue for work, or would if they were not drained."""
    session.execute(update(Worker).where(Worker.id.in_(worker_ids)).values(polled_at=now))


def begin_chunk(session: Session, worker_id: UUID, chunk_id: UUID | None, now: datetime) -> bool:
    """Record which chunk is in a worker's device from now on.

    Returns:
        False, and nothing is recorded, if the worker is to begin nothing more.
    """
    begun = {"of_worker": worker_id, "of_chunk": chunk_id, "at": now}
    return session.connection().execute(BEGIN_CHUNK, begun).rowcount == 1


def note_stopping(session: Session, worker_id: UUID, now: datetime) -> None:
    """Record that a worker's process was told to stop, and have it drain until it ends."""
    session.execute(
        update(Worker).where(Worker.id == worker_id).values(draining=True, stopping_at=now)
    )


BEGIN_CHUNK = (
    update(WORKERS)
    .where(WORKERS.c.id == bindparam("of_worker"), WORKERS.c.draining.is_(False))
    .values(drawing_chunk_id=bindparam("of_chunk"), drawing_since=bindparam("at"))
)
DRAINING = select(Worker.draining).where(Worker.id == bindparam("of_worker"))
"""Made once, as is the other: that takes longer than to run it."""


def is_draining(session: Session, worker_id: UUID) -> bool:
    """Tell whether a worker is to begin nothing more, for now or for good."""
    return bool(session.connection().scalar(DRAINING, {"of_worker": worker_id}))


def is_stopping(session: Session, worker_id: UUID) -> bool:
    """Tell whether a worker's process was told to stop."""
    stopping = select(Worker.stopping_at).where(Worker.id == worker_id)
    return session.scalar(stopping) is not None


def are_draining(session: Session, worker_ids: Sequence[UUID]) -> bool:
    """Tell whether each of some workers is to begin nothing more."""
    takes_jobs = select(Worker.id).where(Worker.id.in_(worker_ids), Worker.draining.is_(False))
    is_registered = select(Worker.id).where(Worker.id.in_(worker_ids)).limit(1)
    return session.scalar(takes_jobs.limit(1)) is None and bool(session.scalar(is_registered))


def mark_stopped(session: Session, worker_id: UUID, now: datetime) -> None:
    """Record a worker's orderly end, and complete its books."""
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id, Worker.stopped_at.is_(None))
        .values(stopped_at=now)
    )
    settle_worker(session, worker_id, now)
