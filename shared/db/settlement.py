"""A device costs while it is held, not while it draws: the rest of its time goes to the books.

What is booked of a worker up to a moment is then, to the nano-dollar, the time that it held
its device at the prices that were in force: rounding too ends up in its idle time.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from shared.db.conditions import IS_LEASED
from shared.db.cost_sums import read_costs
from shared.db.ledger import Entry, append
from shared.db.prices import price_in_force, price_steps
from shared.db.tables import Job, Worker
from shared.db.tallies import append_tallies
from shared.domain.jobs import LedgerKind
from shared.domain.money import nanoseconds, online_cost

SETTLED_EVERY = timedelta(minutes=10)
"""How much of a working device's idle time may be missing in the books."""


def settle_worker(
    session: Session, worker_id: UUID, now: datetime, *, nothing_is_begun: bool = False
) -> bool:
    """Book a worker's idle time up to its last sign of life, unless it has a job in hand.

    What it has in hand is not in the books yet and would be taken for idle time.

    Args:
        session: writes.
        worker_id: the worker's.
        now: when this is.
        nothing_is_begun: the worker itself says so: of what it has claimed nothing was in its
            device yet, and this is a sign of its life.

    Returns:
        Whether its books are complete up to then.
    """
    session.flush()
    worker = session.get_one(Worker, worker_id, with_for_update=True, populate_existing=True)
    if nothing_is_begun:
        worker.heartbeat_at = now
    elif _has_a_job(session, worker):
        return False
    until = online_until(worker)
    _book_idle_time(session, worker, until)
    # The sign of life may have come after `now` was read, while its row was waited for.
    worker.settled_until, worker.settled_at = until, max(now, until)
    session.flush()
    return True


def settle_now_and_then(session: Session, worker_id: UUID, now: datetime) -> None:
    """Settle a live worker, if that was not done for ten minutes.

    For the worker itself to call, for it alone knows that it does nothing at the moment.
    """
    worker = session.get_one(Worker, worker_id)
    if (worker.settled_until or worker.online_at) < now - SETTLED_EVERY:
        worker.heartbeat_at = now
        settle_worker(session, worker_id, now)


def _book_idle_time(session: Session, worker: Worker, until: datetime) -> None:
    """Book what is missing in a worker's books up to a moment; may be less than nothing."""
    # What this very transaction has booked counts too.
    append_tallies(session)
    steps = price_steps(session, worker.device_kind, worker.device_sku)
    booked = [row.booked for row in read_costs(session, worker_ids=[worker.id])]
    missing = online_cost(worker.online_at, until, steps) - sum(sums.nanodollars for sums in booked)
    idle_ns = nanoseconds(until - worker.online_at) - sum(sums.device_ns for sums in booked)
    if not missing and not idle_ns:
        return
    append(
        session,
        Entry(
            event_id=f"idle:{worker.id}:{sum(sums.entries for sums in booked)}",
            kind=LedgerKind.IDLE,
            worker_id=worker.id,
            device_kind=worker.device_kind,
            device_ns=idle_ns,
            nanodollars_per_hour=price_in_force(
                session, worker.device_kind, worker.device_sku, until
            ),
            amount_nanodollars=missing,
            priced_at=until,
            booked_at=until,
        ),
    )


def online_until(worker: Worker) -> datetime:
    """Return until when a worker is known to have held its device."""
    return max(worker.online_at, worker.stopped_at or worker.heartbeat_at)


def unsettled_workers(session: Session, now: datetime, silence: timedelta) -> list[UUID]:
    """Find the workers that ended or fell silent, and whose books are not complete.

    Those that live settle themselves.
    """
    may_be_behind = select(Worker).where(
        or_(
            Worker.settled_until.is_(None),
            Worker.settled_until < func.coalesce(Worker.stopped_at, Worker.heartbeat_at),
        ),
        or_(Worker.stopped_at.is_not(None), Worker.heartbeat_at < now - silence),
    )
    return [
        worker.id for worker in session.scalars(may_be_behind) if not _has_a_job(session, worker)
    ]


def _has_a_job(session: Session, worker: Worker) -> bool:
    held = select(Job.id).where(IS_LEASED, Job.worker_id == worker.id).limit(1)
    return session.scalar(held) is not None
