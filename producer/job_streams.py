"""Jobs of a batch in order of position, each kind through an index that has them so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    case,
    false,
    select,
    text,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session

from shared.db.conditions import IS_FAILED, IS_HELD, IS_LEASED
from shared.db.tables import Job
from shared.domain.jobs import JobState

SHOWN = (
    Job.id,
    Job.position,
    Job.custom_id,
    Job.state,
    Job.prompt,
    Job.attempts,
    Job.error_code,
    Job.image_key,
)

AnySelect = Select[*tuple[Any, ...]]


class JobStream:
    """The jobs of a batch, or those in a state that has an index; nothing is sorted."""

    def __init__(
        self, session: Session, batch_id: UUID, state: JobState | None, error: str | None
    ) -> None:
        """Choose the jobs.

        Args:
            session: where they are.
            batch_id: whose they are.
            state: failed, held or leased; None stands for all jobs.
            error: of the failed ones only those with this code.
        """
        self._session = session
        self._batch_id = batch_id
        self._state = state
        self._codes: Sequence[str] = ()
        if state is JobState.FAILED:
            self._codes = [error] if error else _error_codes(session, batch_id)

    def first(self, after: int) -> int | None:
        """Return the position of the first job after a position, or None."""
        rows = self.read(after, 1)
        return rows[0].position if rows else None

    def read(self, after: int, limit: int, *conditions: ColumnElement[bool]) -> Sequence[Row[Any]]:
        """Read the first jobs after a position that meet the conditions: the columns shown."""
        which = (Job.batch_id == self._batch_id, *conditions)
        parts = [part.limit(limit) for part in self._parts(after, which)]
        if not parts:
            return ()
        with _in_order_of_an_index(self._session):
            if len(parts) == 1:
                return self._session.execute(parts[0]).all()
            merged = union_all(*(select(part.subquery()) for part in parts)).subquery()
            first = select(merged).order_by(merged.c.position).limit(limit)
            return self._session.execute(first).all()

    def _parts(self, after: int, which: Sequence[ColumnElement[bool]]) -> list[AnySelect]:
        later = select(*SHOWN).where(*which, Job.position > after).order_by(Job.position)
        match self._state:
            case JobState.FAILED:
                return [_failed_with(code, after, which) for code in self._codes]
            case JobState.HELD:
                return [later.where(IS_HELD)]
            case JobState.LEASED:
                return [_leased(after, which)]
            case _:
                return [later]


@contextmanager
def _in_order_of_an_index(session: Session) -> Iterator[None]:
    """Have Postgres read an index that has the jobs in order, rather than sort a batch.

    Before it has counted a new batch of millions it takes it for small.
    """
    is_postgres = session.get_bind().dialect.name == "postgresql"
    if is_postgres:
        session.execute(text("SET LOCAL enable_sort = off"))
    yield
    if is_postgres:
        session.execute(text("SET LOCAL enable_sort = DEFAULT"))


def _error_codes(session: Session, batch_id: UUID) -> Sequence[str]:
    """Step through the index from code to code; a failed job always has one."""
    codes: list[str] = []
    failed = (
        select(Job.error_code)
        .where(Job.batch_id == batch_id, IS_FAILED)
        .order_by(Job.error_code, Job.position)
        .limit(1)
    )
    with _in_order_of_an_index(session):
        code = session.scalar(failed.where(Job.error_code.is_not(None)))
        while code is not None:
            codes.append(code)
            code = session.scalar(failed.where(Job.error_code > code))
    return codes


def _failed_with(code: str, after: int, which: Sequence[ColumnElement[bool]]) -> AnySelect:
    """Select failed jobs by a range and an order that only their own index has.

    Were the code an equality, the index of positions would do: it may have ten million jobs
    before the first that failed.
    """
    place = tuple_(Job.error_code, Job.position)
    return (
        select(*SHOWN)
        .where(*which, IS_FAILED, place > tuple_(code, after), Job.error_code <= code)
        .order_by(Job.error_code, Job.position)
    )


def _leased(after: int, which: Sequence[ColumnElement[bool]]) -> AnySelect:
    """Select from all that the fleet holds, which is never much; this has to be sorted."""
    # Plain, the conditions would make an index of whole batches look good.
    opaque = case((and_(*which, Job.position > after), true()), else_=false())
    return (
        select(*SHOWN)
        .where(IS_LEASED, Job.lease_expires_at.is_not(None), opaque)
        .order_by(Job.position)
    )
