"""Workers: registered, alive, draining, stopped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session

from shared.db.conditions import IS_LEASED
from shared.db.settlement import settle_worker
from shared.db.tables import Job, Worker


def live_workers(session: Session, now: datetime, silence: timedelta) -> Sequence[Worker]:
    """Return workers that have not stopped and are of use.

    That a process lives is not enough: within ``silence`` it has given a sign of life, and
    has polled its queue or holds a job, which keeps it from polling.
    """
    alive = select(Worker).where(_is_alive(now, silence)).order_by(Worker.id)
    return session.scalars(alive).all()


def count_ready_workers(session: Session, now: datetime, silence: timedelta, model: str) -> int:
    """Count the live workers with a model that take jobs."""
    ready = and_(Worker.model == model, Worker.draining.is_(False), _is_alive(now, silence))
    return session.scalar(select(func.count()).select_from(Worker).where(ready)) or 0


def _is_alive(now: datetime, silence: timedelta) -> ColumnElement[bool]:
    holds_a_job = select(Job.id).where(Job.worker_id == Worker.id, IS_LEASED).exists()
    polls = or_(Worker.polled_at.is_(None), Worker.polled_at >= now - silence)
    return and_(
        Worker.stopped_at.is_(None),
        Worker.heartbeat_at >= now - silence,
        or_(polls, holds_a_job),
    )


def record_poll(session: Session, worker_id: UUID, now: datetime) -> None:
    """Record that a worker asked its queue for work."""
    session.execute(update(Worker).where(Worker.id == worker_id).values(polled_at=now))


def ask_to_drain(session: Session, worker_id: UUID) -> None:
    """Have a worker give back, between images, what it has not begun."""
    session.execute(update(Worker).where(Worker.id == worker_id).values(draining=True))


def is_draining(session: Session, worker_id: UUID) -> bool:
    """Tell whether a worker was asked to drain."""
    return bool(session.scalar(select(Worker.draining).where(Worker.id == worker_id)))


def mark_stopped(session: Session, worker_id: UUID, now: datetime) -> None:
    """Record a worker's orderly end, and complete its books."""
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id, Worker.stopped_at.is_(None))
        .values(stopped_at=now)
    )
    settle_worker(session, worker_id, now)
