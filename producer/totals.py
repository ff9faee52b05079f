"""What the whole installation has to do, has done and has cost, in a few sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Label, func, select, union_all
from sqlalchemy.orm import Session

from producer.webhooks.outbox import count_pending
from shared.db.cost_tables import CostSum
from shared.db.engine import Database
from shared.db.fleet import live_workers
from shared.db.served_models import served_by
from shared.db.tables import BatchCount, JobCounts, Tally
from shared.domain.jobs import JobState
from shared.settings import Settings


class WorkerKind(NamedTuple):
    """What live workers have in common."""

    device_kind: str
    model: str
    """The first of those that they serve."""
    draining: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """All batches and workers together, at one moment."""

    jobs: Mapping[JobState, int]
    """Every state is a key."""
    image_bytes: int
    """Of the images that were stored."""
    open_batches: int
    """That have jobs which are not at their end."""
    nanodollars: Mapping[str, int]
    """All that was booked, by kind."""
    workers: Mapping[WorkerKind, int]
    """The live ones."""
    queues: frozenset[str]
    """That live workers read."""
    deliveries: int
    """To webhooks, neither delivered nor given up."""


def read_totals(database: Database, settings: Settings) -> Totals:
    """Add it all up: a row a batch is read, and a row a batch, worker and day of its costs."""
    with database.snapshot() as session:
        silence = timedelta(seconds=settings.lease_seconds)
        workers = live_workers(session, database.now(session), silence)
        jobs, image_bytes = _jobs(session)
        return Totals(
            jobs=jobs,
            image_bytes=image_bytes,
            open_batches=_open_batches(session),
            nanodollars=_costs(session),
            workers=Counter(
                WorkerKind(one.device_kind, one.model, one.draining) for one in workers
            ),
            queues=frozenset(served.queue for served in served_by(session, workers)),
            deliveries=count_pending(session),
        )


def _jobs(session: Session) -> tuple[Mapping[JobState, int], int]:
    names = (*(state.value for state in JobState), "image_bytes")
    figures = [0] * len(names)
    for table in (BatchCount, Tally):
        sums = (func.sum(getattr(table, name)) for name in names)
        row = session.execute(select(*sums)).one()
        figures = [known + int(more or 0) for known, more in zip(figures, row, strict=True)]
    return dict(zip(JobState, figures, strict=False)), figures[-1]


def _open_batches(session: Session) -> int:
    """Count the batches whose sums say that something is to be done; the others are left out."""

    def to_do(table: type[JobCounts]) -> Label[int]:
        return (table.pending + table.leased + table.held).label("jobs")

    counted = select(BatchCount.batch_id, to_do(BatchCount)).where(
        BatchCount.pending + BatchCount.leased + BatchCount.held > 0
    )
    parts = union_all(counted, select(Tally.batch_id, to_do(Tally))).subquery()
    is_open = (
        select(parts.c.batch_id)
        .group_by(parts.c.batch_id)
        .having(func.sum(parts.c.jobs) > 0)
        .subquery()
    )
    return session.scalar(select(func.count()).select_from(is_open)) or 0


def _costs(session: Session) -> Mapping[str, int]:
    found: Counter[str] = Counter()
    for table in (CostSum, Tally):
        sums = select(table.kind, func.sum(table.nanodollars)).group_by(table.kind)
        for kind, nanodollars in session.execute(sums.where(table.kind.is_not(None))):
            found[str(kind)] += int(nanodollars)
    return found
