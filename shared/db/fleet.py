"""Workers: registered, alive, draining, stopped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shared.db.tables import Worker


def live_workers(session: Session, now: datetime, silence: timedelta) -> Sequence[Worker]:
    """Return workers that have not stopped and gave a sign of life within ``silence``."""
    return session.scalars(
        select(Worker)
        .where(Worker.stopped_at.is_(None), Worker.heartbeat_at >= now - silence)
        .order_by(Worker.id)
    ).all()


def ask_to_drain(session: Session, worker_id: UUID) -> None:
    """Have a worker give back, between images, what it has not begun."""
    session.execute(update(Worker).where(Worker.id == worker_id).values(draining=True))


def is_draining(session: Session, worker_id: UUID) -> bool:
    """Tell whether a worker was asked to drain."""
    return bool(session.scalar(select(Worker.draining).where(Worker.id == worker_id)))


def mark_stopped(session: Session, worker_id: UUID, now: datetime) -> None:
    """Record a worker's orderly end."""
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id, Worker.stopped_at.is_(None))
        .values(stopped_at=now)
    )
