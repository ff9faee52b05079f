"""How many jobs of a batch are in each state, known without counting them.

Every transaction that moves jobs appends one row of differences, and the dispatcher folds
these rows into one a batch. So no row is fought over by many workers, and a batch's counts
are the sum of a few rows: exact at every moment, however large the batch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    Insert,
    Select,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    union_all,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.db.tables import BatchCount, JobCounts, Tally
from shared.domain.identifiers import new_id
from shared.domain.jobs import JobState

NANODOLLARS = "nanodollars"
FIGURES = (*(state.value for state in JobState), NANODOLLARS)
TO_COME = "tallies"
"""Where a session keeps what its transaction will append."""
FOLDED_AT_ONCE = 5_000
APPEND = insert(cast("Table", Tally.__table__))


@dataclass(frozen=True, slots=True)
class BatchTally:
    """A batch's counts at one moment."""

    counts: Mapping[JobState, int]
    """Every state is a key; they add up to the jobs that were submitted."""
    nanodollars: int
    """All that is booked for the batch."""

    @property
    def total(self) -> int:
        """All jobs."""
        return sum(self.counts.values())


NOTHING = BatchTally(dict.fromkeys(JobState, 0), 0)


def note_new(session: Session, batch_id: UUID, state: JobState, jobs: int) -> None:
    """Note that jobs were added to a batch."""
    _note(session, batch_id, state.value, jobs)


def note_move(
    session: Session, batch_id: UUID, origin: JobState, target: JobState, jobs: int = 1
) -> None:
    """Note that jobs of a batch went from one state to another."""
    _note(session, batch_id, origin.value, -jobs)
    _note(session, batch_id, target.value, jobs)


def note_cost(session: Session, batch_id: UUID, nanodollars: int) -> None:
    """Note that something was booked for a batch."""
    _note(session, batch_id, NANODOLLARS, nanodollars)


def _note(session: Session, batch_id: UUID, figure: str, difference: int) -> None:
    to_come: dict[UUID, dict[str, int]] = session.info.setdefault(TO_COME, {})
    figures = to_come.setdefault(batch_id, dict.fromkeys(FIGURES, 0))
    figures[figure] += difference


def append_tallies(session: Session) -> None:
    """Write down what the transaction noted, a row a batch; called before it commits."""
    to_come: dict[UUID, dict[str, int]] = session.info.pop(TO_COME, {})
    rows = [
        {"id": new_id(), "batch_id": batch_id, **figures}
        for batch_id, figures in to_come.items()
        if any(figures.values())
    ]
    if rows:
        session.connection().execute(APPEND, rows)


def read_tally(session: Session, batch_id: UUID) -> BatchTally:
    """Return a batch's counts."""
    return read_tallies(session, [batch_id]).get(batch_id, NOTHING)


def read_tallies(session: Session, batch_ids: Collection[UUID]) -> dict[UUID, BatchTally]:
    """Return the counts of batches; in one statement, so that they are of one moment."""
    rows = session.connection().execute(READ, {"batch_ids": list(batch_ids)})
    return {
        batch_id: BatchTally(
            {state: int(figure) for state, figure in zip(JobState, figures, strict=False)},
            int(figures[-1]),
        )
        for batch_id, *figures in rows
    }


def _reading() -> Select[Any]:
    asked: BindParameter[Any] = bindparam("batch_ids", expanding=True)
    parts = union_all(
        *(
            select(table.batch_id, *_columns(table)).where(table.batch_id.in_(asked))
            for table in (BatchCount, Tally)
        )
    ).subquery()
    sums = [func.sum(parts.c[name]) for name in FIGURES]
    return select(parts.c.batch_id, *sums).group_by(parts.c.batch_id)


def _columns(table: type[JobCounts]) -> list[Any]:
    return [getattr(table, name) for name in FIGURES]


READ = _reading()
"""Made once: that takes longer than to run it."""


def count_unfolded(session: Session, most: int) -> int:
    """Count the tallies that wait to be folded, no further than ``most``."""
    some = select(Tally.id).limit(most).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def fold_tallies(session: Session) -> int:
    """Add up to 5,000 tallies to the sums of their batches; returns how many.

    Several may fold at once: what one has locked, the other leaves.
    """
    some = select(Tally.id).limit(FOLDED_AT_ONCE).with_for_update(skip_locked=True)
    rows = session.execute(
        delete(Tally).where(Tally.id.in_(some)).returning(Tally.batch_id, *_columns(Tally)),
        execution_options={"synchronize_session": False},
    ).all()
    sums: dict[UUID, list[int]] = {}
    for batch_id, *figures in rows:
        known = sums.setdefault(batch_id, [0] * len(FIGURES))
        sums[batch_id] = [a + b for a, b in zip(known, figures, strict=True)]
    # In one order, so that no two wait for each other.
    for batch_id in sorted(sums):
        sum_of = dict(zip(FIGURES, sums[batch_id], strict=True))
        session.execute(_add(session, {"batch_id": batch_id, **sum_of}))
    return len(rows)


def _add(session: Session, values: dict[str, Any]) -> Insert:
    is_postgres = session.get_bind().dialect.name == "postgresql"
    adding = (postgresql if is_postgres else sqlite).insert(BatchCount).values(**values)
    sums = {name: getattr(BatchCount, name) + adding.excluded[name] for name in FIGURES}
    adding = adding.on_conflict_do_update(index_elements=["batch_id"], set_=sums)
    return cast("Insert", adding)
