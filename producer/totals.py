"""What the whole installation has to do, has done and has cost, in a few sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Label, func, select, union_all
from sqlalchemy.orm import Session

from producer.backlog import Backlog, Pool, read_backlog
from producer.busy import busy_ratios
from producer.dispatch.queries import batches_over_budget
from producer.dispatch_health import DispatchHealth, read_dispatch_health
from producer.recent_attempts import read_chunk_jobs
from producer.webhooks.outbox import count_pending
from shared.db.cost_tables import CostSum
from shared.db.device_faults import list_faults
from shared.db.engine import Database
from shared.db.fleet import live_workers
from shared.db.phases import Drawing, read_phases
from shared.db.served_models import Served, served_by
from shared.db.setbacks import SetbackKind, read_setbacks
from shared.db.tables import BatchCount, JobCounts, Tally, Worker
from shared.db.unsent import keep_to_index_order
from shared.domain.jobs import JobState
from shared.domain.phases import PhaseSums
from shared.settings import Settings


class WorkerKind(NamedTuple):
    """What live workers have in common."""

    device_kind: str
    model: str
    """The first of those that they serve."""
    draining: bool


class CostOf(NamedTuple):
    """What entries of the books have in common."""

    kind: str
    device_kind: str
    """Empty where no device is involved."""


class Cost(NamedTuple):
    """Entries of the books together."""

    nanodollars: int
    device_ns: int


@dataclass(frozen=True, slots=True)
class Totals:
    """All batches and workers together, at one moment."""

    jobs: Mapping[JobState, int]
    """Every state is a key."""
    image_bytes: int
    """Of the images that were stored."""
    open_batches: int
    """That have jobs which are not at their end."""
    batches_over_budget: int
    """Of which jobs are held for want of money."""
    costs: Mapping[CostOf, Cost]
    """All that was booked."""
    workers: Mapping[WorkerKind, int]
    """The live ones."""
    serving: Mapping[Pool, int]
    """How many live workers that take jobs serve each model: one may serve several."""
    queues: Mapping[str, Pool]
    """That live workers read."""
    faulty_devices: Mapping[str, int]
    """Taken out of service, by kind."""
    busy: Mapping[str, float]
    """Which part of the last minutes devices were at work, by kind."""
    setbacks: Mapping[SetbackKind, int]
    """Attempts that came to nothing."""
    phases: Mapping[Drawing, PhaseSums]
    """How long those of all images took, of each how many."""
    chunk_jobs: Mapping[str, float]
    """Jobs of a chunk that was claimed lately, on average, by device kind."""
    dispatch: DispatchHealth
    backlog: Backlog
    deliveries: int
    """To webhooks, neither delivered nor given up."""
    read_at: datetime
    """By the database's clock."""


def read_totals(database: Database, settings: Settings) -> Totals:
    """Add it all up, as of one moment.

    A row a batch is read, a row a batch, worker and day of its costs, a row a worker and minute
    of the last few, some thousand rows of phases, and of jobs and attempts only those under way
    and a few thousand others.
    """
    with database.snapshot() as session:
        keep_to_index_order(session)
        now = database.now(session)
        workers = live_workers(session, now, timedelta(seconds=settings.lease_seconds))
        served = served_by(session, workers)
        pool_of = {one.queue: Pool(one.worker.device_kind, one.model) for one in served}
        jobs, image_bytes = _jobs(session)
        return Totals(
            jobs=jobs,
            image_bytes=image_bytes,
            open_batches=_open_batches(session),
            batches_over_budget=len(batches_over_budget(session, None)),
            costs=_costs(session),
            workers=Counter(
                WorkerKind(one.device_kind, one.model, one.draining) for one in workers
            ),
            serving=_serving(served),
            queues=pool_of,
            faulty_devices=Counter(fault.device_kind for fault in list_faults(session, now)),
            busy=busy_ratios(session, workers, now),
            setbacks=read_setbacks(session),
            phases=read_phases(session),
            chunk_jobs=read_chunk_jobs(session),
            dispatch=read_dispatch_health(session, settings.dispatcher_lease_seconds, now),
            deliveries=count_pending(session),
            backlog=read_backlog(session, set(pool_of.values())),
            read_at=now,
        )


def _serving(served: Sequence[Served]) -> Mapping[Pool, int]:
    """Count the workers that take jobs; 0 where all that live are draining."""
    counts: Counter[Pool] = Counter()
    for one in served:
        counts[Pool(one.worker.device_kind, one.model)] += not one.worker.draining
    return counts


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


def _costs(session: Session) -> Mapping[CostOf, Cost]:
    found: dict[CostOf, Cost] = {}
    device_kind = func.coalesce(Worker.device_kind, "")
    for table in (CostSum, Tally):
        sums = (func.sum(table.nanodollars), func.sum(table.device_ns))
        rows = (
            select(table.kind, device_kind, *sums)
            .outerjoin(Worker, Worker.id == table.worker_id)
            .where(table.kind.is_not(None))
            .group_by(table.kind, device_kind)
        )
        for kind, of_kind, nanodollars, device_ns in session.execute(rows):
            of = CostOf(str(kind), of_kind)
            known = found.get(of, Cost(0, 0))
            more = (int(nanodollars), int(device_ns))
            found[of] = Cost(*map(sum, zip(known, more, strict=True)))
    return found
