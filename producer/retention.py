"""Old batches: what is kept of each job goes, what they came to and cost stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from producer.progress import Progress, Report, unseen
from shared.db.api_tables import BatchRequest
from shared.db.batches import is_finished
from shared.db.details import begin_to_drop, carry_lines_forward, drop_jobs, why_not_droppable
from shared.db.engine import Database
from shared.db.tables import Batch, Job
from shared.db.tallies import NOTHING, read_tallies

BATCHES_AT_ONCE = 500
GOES_ON = "somebody has changed it just now"

Piece = Callable[[Session, UUID], int]


@dataclass(frozen=True, slots=True)
class OldBatch:
    """A batch whose details can go."""

    id: UUID
    name: str
    jobs: int
    image_bytes: int
    """Of the images that were stored for it."""
    is_begun: bool
    """Whether an earlier run was cut off before it had come to the end."""


@dataclass(frozen=True, slots=True)
class Spared:
    """An old batch whose details stay for now."""

    batch_id: UUID
    reason: str

    def to_json(self) -> dict[str, str]:
        """Return it as plain values."""
        return {"batch_id": str(self.batch_id), "reason": self.reason}


@dataclass(slots=True)
class Dropped:
    """What became of old batches."""

    batches: int = 0
    jobs: int = 0
    """That were removed now."""
    entries: int = 0
    """Of the books, that were carried forward."""
    spared: list[Spared] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "batches": self.batches,
            "jobs": self.jobs,
            "entries": self.entries,
            "spared": [one.to_json() for one in self.spared],
        }


def find_old_batches(
    database: Database, ended_before: datetime, tenant: str | None = None
) -> Sequence[OldBatch]:
    """Find batches that ended long ago, and those whose details were removed in part.

    Args:
        database: where they are.
        ended_before: a batch that had anything done after this moment is left alone.
        tenant: only this one's; None is everybody's.
    """
    with database.read() as session:
        begun = Batch.details_dropped_at.is_not(None)
        has_jobs = select(Job.id).where(Job.batch_id == Batch.id).exists()
        is_asked_for = select(BatchRequest.id).where(
            BatchRequest.id == Batch.id, BatchRequest.ended_at.is_(None)
        )
        is_old = (
            Batch.details_dropped_at.is_(None),
            Batch.created_at < ended_before,
            Batch.submitted_at < ended_before,
            ~is_asked_for.exists(),
        )
        ours = select(Batch.id).order_by(Batch.id)
        if tenant is not None:
            ours = ours.where(Batch.tenant == tenant)
        unfinished = session.scalars(ours.where(begun, has_jobs)).all()
        candidates = session.scalars(ours.where(*is_old)).all()
        return [
            *_with_counts(session, unfinished, lambda _: True),
            *_with_counts(session, candidates, lambda id_: _is_over(session, id_, ended_before)),
        ]


def _is_over(session: Session, batch_id: UUID, moment: datetime) -> bool:
    ended_later = select(Job.id).where(
        Job.batch_id == batch_id, or_(Job.finished_at >= moment, Job.finished_at.is_(None))
    )
    return session.scalar(ended_later.limit(1)) is None


def _with_counts(
    session: Session, batch_ids: Sequence[UUID], is_meant: Callable[[UUID], bool]
) -> Iterator[OldBatch]:
    for start in range(0, len(batch_ids), BATCHES_AT_ONCE):
        some = batch_ids[start : start + BATCHES_AT_ONCE]
        tallies = read_tallies(session, some)
        for batch in session.scalars(select(Batch).where(Batch.id.in_(some)).order_by(Batch.id)):
            tally = tallies.get(batch.id, NOTHING)
            if is_finished(tally.counts) and is_meant(batch.id):
                jobs = sum(tally.counts.values())
                is_begun = batch.details_dropped_at is not None
                yield OldBatch(batch.id, batch.name, jobs, tally.image_bytes, is_begun)


def drop_details(
    database: Database,
    batches: Sequence[OldBatch],
    ended_before: datetime,
    report: Report = unseen,
) -> Dropped:
    """Remove the jobs and the attempts of old batches, and carry their books forward.

    May be cut off anywhere: what is half removed is told as removed, its sums are right, and
    the next run goes on with it. Every transaction is short.

    Args:
        database: where they are.
        batches: found by `find_old_batches`.
        ended_before: as there; whatever has gone on since is left alone.
        report: is told how many entries of the books were carried forward, then how many jobs
            are gone.
    """
    dropped = Dropped()
    begun = []
    for batch in batches:
        reason = None if batch.is_begun else _begin(database, batch.id, ended_before)
        if reason is None:
            begun.append(batch)
        else:
            dropped.spared.append(Spared(batch.id, reason))
    dropped.batches = len(begun)
    jobs = sum(batch.jobs for batch in begun)
    # While a job is there, the next run finds what is left to do: they go last.
    for entries in _pieces(database, begun, carry_lines_forward):
        dropped.entries += entries
        # Most jobs have one; some of tries that came to nothing are more.
        report(Progress("entries", dropped.entries, max(jobs, dropped.entries)))
    for gone in _pieces(database, begun, drop_jobs):
        dropped.jobs += gone
        report(Progress("jobs", dropped.jobs, jobs))
    return dropped


def _begin(database: Database, batch_id: UUID, ended_before: datetime) -> str | None:
    """Write down that a batch's details go; returns why not, if that is so."""
    with database.snapshot() as session:
        if not _is_over(session, batch_id, ended_before):
            return GOES_ON
        reason = why_not_droppable(session, batch_id)
    if reason is not None:
        return reason
    with database.write() as session:
        is_ours = begin_to_drop(session, batch_id, database.now(session))
    return None if is_ours else GOES_ON


def _pieces(database: Database, batches: Sequence[OldBatch], drop: Piece) -> Iterator[int]:
    """Do it a piece at a time, each in a transaction of its own."""
    for batch in batches:
        rows = 1
        while rows:
            with database.write() as session:
                rows = drop(session, batch.id)
            yield rows
