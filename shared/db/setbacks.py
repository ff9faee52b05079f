"""How often attempts came to nothing, and why: counted when they end, for nobody can scan them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db.adding import add_to_rows
from shared.db.setback_tables import Setback

TO_COME = "setbacks"
"""Where a session keeps what its transaction will add."""


class SetbackKind(NamedTuple):
    """What attempts that came to nothing have in common."""

    reason: str
    """Their error code."""
    is_retried: bool
    """Whether their jobs wait for another attempt; else they have failed."""


class _Of(NamedTuple):
    worker_id: UUID
    kind: SetbackKind


def note_setback(session: Session, worker_id: UUID, reason: str, *, is_retried: bool) -> None:
    """Note that an attempt of a worker came to nothing."""
    noted: Counter[_Of] = session.info.setdefault(TO_COME, Counter())
    noted[_Of(worker_id, SetbackKind(reason, is_retried))] += 1


def add_setbacks(session: Session) -> None:
    """Write down what the transaction noted; called before it commits, so that none waits long."""
    noted: Counter[_Of] = session.info.pop(TO_COME, Counter())
    rows = [
        {"worker_id": of.worker_id, **of.kind._asdict(), "attempts": attempts}
        for of, attempts in noted.items()
    ]
    add_to_rows(session, Setback, rows)


def read_setbacks(session: Session) -> Mapping[SetbackKind, int]:
    """Count the attempts that came to nothing: a row a worker and reason is read."""
    sums = select(Setback.reason, Setback.is_retried, func.sum(Setback.attempts))
    rows = session.execute(sums.group_by(Setback.reason, Setback.is_retried))
    return {SetbackKind(reason, is_retried): int(count) for reason, is_retried, count in rows}
