"""The workers that are alive."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.tables import Worker


def live_workers(session: Session, now: datetime, silence: timedelta) -> Sequence[Worker]:
    """Return workers that have not stopped and gave a sign of life within ``silence``."""
    return session.scalars(
        select(Worker)
        .where(Worker.stopped_at.is_(None), Worker.heartbeat_at >= now - silence)
        .order_by(Worker.id)
    ).all()
