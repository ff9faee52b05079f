"""Devices that were taken out: noted, listed, cleared."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from shared.db.fault_tables import DeviceFault

SHOWN_FOR = timedelta(days=1)
"""Nobody tries a device for so long whose supervisor has ended, or whose host is gone."""
MOST_LISTED = 1_000
MOST_CHARACTERS = 1_000
"""Of a reason: drivers may say a lot."""


def note_fault(session: Session, fault: DeviceFault) -> None:
    """Record that a device was tried in vain: ``since`` is kept of what is known of it."""
    known = session.get(DeviceFault, (fault.host, fault.device))
    if known is not None:
        fault.since = known.since
    fault.reason = fault.reason[:MOST_CHARACTERS]
    session.merge(fault)


def clear_fault(session: Session, host: str, device: str) -> None:
    """Record that a worker on a device is ready."""
    session.execute(
        delete(DeviceFault).where(DeviceFault.host == host, DeviceFault.device == device)
    )


def list_faults(
    session: Session, now: datetime, *, host: str | None = None
) -> Sequence[DeviceFault]:
    """Return the devices that are out, those of a host together.

    Args:
        session: reads.
        now: as the database tells it.
        host: of which alone; None is all.
    """
    wanted = select(DeviceFault).where(DeviceFault.last_seen >= now - SHOWN_FOR)
    if host is not None:
        wanted = wanted.where(DeviceFault.host == host)
    in_order = wanted.order_by(DeviceFault.host, DeviceFault.device)
    return session.scalars(in_order.limit(MOST_LISTED)).all()
