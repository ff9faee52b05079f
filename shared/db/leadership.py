"""One of several processes leads: a lease on a name, taken by compare-and-set."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.db.tables import Leadership

DISPATCHER = "dispatcher"


def can_lead(session: Session, name: str, holder: UUID, now: datetime) -> bool:
    """Tell, without writing, whether nobody else leads."""
    others = select(Leadership.holder).where(
        Leadership.name == name, Leadership.holder != holder, Leadership.expires_at > now
    )
    return session.scalar(others) is None


def take_lead(session: Session, name: str, holder: UUID, now: datetime, lease: timedelta) -> bool:
    """Take or renew the lead; False when somebody else has it."""
    values = {"holder": holder, "expires_at": now + lease}
    insert = postgresql.insert if _is_postgres(session) else sqlite.insert
    taken = session.scalar(
        insert(Leadership)
        .values(name=name, **values)
        .on_conflict_do_update(
            index_elements=["name"],
            set_=values,
            where=or_(Leadership.holder == holder, Leadership.expires_at <= now),
        )
        .returning(Leadership.name)
    )
    return taken is not None


def still_leads(session: Session, name: str, holder: UUID) -> bool:
    """Tell whether nobody has taken the lead over; until the transaction ends nobody can."""
    query = select(Leadership.holder).where(Leadership.name == name)
    return session.scalar(query.with_for_update(read=True)) == holder


def give_up_lead(session: Session, name: str, holder: UUID) -> None:
    """Let the next one lead without waiting for the lease to end."""
    session.execute(delete(Leadership).where(Leadership.name == name, Leadership.holder == holder))


def _is_postgres(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"
