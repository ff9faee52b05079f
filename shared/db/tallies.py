"""How many jobs of a batch are in each state, and what it cost, known without counting.

Every transaction that moves jobs or books something appends one row of differences, and the
dispatcher folds these rows into one a batch, one for each kind of cost, worker and day, and one
for each short span of time in which something was done (see `shared.db.activity`).
So no row is fought over by many workers, and a batch's counts and costs are the sum of a few
rows: exact at every moment, however large the batch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from operator import add, attrgetter
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    Row,
    Select,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from shared.db.activity import fold_activity
from shared.db.adding import add_to_rows
from shared.db.cost_sums import Booked, CostKey, add_to_sums
from shared.db.tables import BatchCount, JobCounts, Tally
from shared.domain.identifiers import NOBODY, new_id
from shared.domain.jobs import FINAL_STATES, JobState

NANODOLLARS = "nanodollars"
IMAGE_BYTES = "image_bytes"
MOVES = tuple(state.value for state in JobState)
FIGURES = (*MOVES, NANODOLLARS, IMAGE_BYTES)
TO_COME = "tallies"
"""Where a session keeps what its transaction will append."""
FOLDED_AT_ONCE = 5_000
TALLIES = cast("Table", Tally.__table__)
APPEND = insert(TALLIES)
NOTHING_MOVED = dict.fromkeys((*MOVES, IMAGE_BYTES), 0)


@dataclass(frozen=True, slots=True)
class BatchTally:
    """A batch's counts at one moment."""

    counts: Mapping[JobState, int]
    """Every state is a key; they add up to the jobs that were submitted."""
    nanodollars: int
    """All that is booked for the batch."""
    image_bytes: int = 0
    """Of the images that were stored for it."""

    @property
    def total(self) -> int:
        """All jobs."""
        return sum(self.counts.values())

    @property
    def is_over(self) -> bool:
        """Whether there are jobs, and all of them have come to their end."""
        return self.total == sum(self.counts[state] for state in FINAL_STATES) > 0


NOTHING = BatchTally(dict.fromkeys(JobState, 0), 0)


@dataclass(slots=True)
class _ToCome:
    """What a transaction will append."""

    moves: dict[UUID, dict[str, int]] = field(default_factory=dict)
    costs: dict[CostKey, Booked] = field(default_factory=dict)


def note_new(session: Session, batch_id: UUID, state: JobState, jobs: int) -> None:
    """Note that jobs were added to a batch."""
    _note(session, batch_id, state.value, jobs)


def note_move(
    session: Session, batch_id: UUID, origin: JobState, target: JobState, jobs: int = 1
) -> None:
    """Note that jobs of a batch went from one state to another."""
    _note(session, batch_id, origin.value, -jobs)
    _note(session, batch_id, target.value, jobs)


def note_image(session: Session, batch_id: UUID, size: int) -> None:
    """Note that an image of so many bytes was stored for a batch."""
    _note(session, batch_id, IMAGE_BYTES, size)


def note_cost(session: Session, key: CostKey, device_ns: int, nanodollars: int) -> None:
    """Note that an entry was booked."""
    costs = _to_come(session).costs
    entry = Booked(1, device_ns, nanodollars, nanodollars, nanodollars)
    costs[key] = entry if (known := costs.get(key)) is None else known + entry


def _note(session: Session, batch_id: UUID, figure: str, difference: int) -> None:
    figures = _to_come(session).moves.setdefault(batch_id, dict(NOTHING_MOVED))
    figures[figure] += difference


def _to_come(session: Session) -> _ToCome:
    noted: _ToCome = session.info.setdefault(TO_COME, _ToCome())
    return noted


def append_tallies(session: Session) -> None:
    """Write down what the transaction noted; called before it commits."""
    noted: _ToCome | None = session.info.pop(TO_COME, None)
    if noted is None:
        return
    moves = {batch_id: moved for batch_id, moved in noted.moves.items() if any(moved.values())}
    rows = [
        _row(key.batch_id, moves.pop(key.batch_id, NOTHING_MOVED), key, booked)
        for key, booked in noted.costs.items()
    ]
    rows += [_row(batch_id, moved, None, NOT_BOOKED) for batch_id, moved in moves.items()]
    if rows:
        session.connection().execute(APPEND, rows)


NOT_BOOKED = Booked(0, 0, 0, None, None)


def _row(
    batch_id: UUID, moved: Mapping[str, int], key: CostKey | None, booked: Booked
) -> dict[str, object]:
    return {
        "id": new_id(),
        "batch_id": batch_id,
        "worker_id": key and key.worker_id,
        "kind": key and key.kind,
        "day": key and key.day,
        **moved,
        **booked._asdict(),
    }


def read_tally(session: Session, batch_id: UUID) -> BatchTally:
    """Return a batch's counts."""
    return read_tallies(session, [batch_id]).get(batch_id, NOTHING)


def read_tallies(session: Session, batch_ids: Collection[UUID]) -> dict[UUID, BatchTally]:
    """Return the counts of batches; in one statement, so that they are of one moment."""
    rows = session.connection().execute(READ, {"batch_ids": list(batch_ids)})
    return {
        batch_id: BatchTally(
            {state: int(figure) for state, figure in zip(JobState, figures, strict=False)},
            int(figures[-2]),
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
    """Add up to 5,000 tallies to the sums of their batches, workers, days and times.

    Several may fold at once: what one has locked, the other leaves.

    Returns:
        How many.
    """
    some = select(TALLIES.c.id).limit(FOLDED_AT_ONCE).with_for_update(skip_locked=True)
    rows = session.execute(
        delete(TALLIES).where(TALLIES.c.id.in_(some)).returning(*TALLIES.c)
    ).all()
    _fold_moves(session, rows)
    _fold_costs(session, rows)
    fold_activity(session, rows)
    return len(rows)


def _fold_moves(session: Session, rows: Sequence[Row[Any]]) -> None:
    figures_of = attrgetter(*FIGURES)
    moves: dict[UUID, Sequence[int]] = {}
    for row in rows:
        if row.batch_id != NOBODY:
            known = moves.get(row.batch_id)
            more = figures_of(row)
            moves[row.batch_id] = more if known is None else list(map(add, known, more))
    counts = [
        {"batch_id": batch_id, **dict(zip(FIGURES, figures, strict=True))}
        for batch_id, figures in moves.items()
    ]
    add_to_rows(session, BatchCount, counts)


def _fold_costs(session: Session, rows: Sequence[Row[Any]]) -> None:
    booked_of = attrgetter(*Booked._fields)
    costs: dict[CostKey, Booked] = {}
    for row in rows:
        if row.kind is not None:
            key = CostKey(row.batch_id, row.worker_id, row.kind, row.day)
            known = costs.get(key)
            booked = Booked._make(booked_of(row))
            costs[key] = booked if known is None else known + booked
    add_to_sums(session, costs)
