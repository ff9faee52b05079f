"""How long devices would take for all that is to be drawn: what a fleet is to be sized by.

Made of the counts of batches, of a few jobs of the largest batches, and of the rates that
quotes go by. No query reads all jobs of a batch: it takes as long for ten million as for ten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Subquery, func, select, union_all
from sqlalchemy.orm import Session

from shared.db.conditions import IS_UNSENT
from shared.db.rates import read_rates
from shared.db.tables import Batch, BatchCount, Job, Tally
from shared.db.unsent import UNSENT_ORDER, keep_to_index_order
from shared.domain.jobs import BatchControl
from shared.domain.rates import DeviceRate, Shape, estimate

UNKNOWN = "unknown"
"""The device kind of jobs of a model that no live worker serves and that nobody has measured."""
MOST_MODELS = 50
"""Whose rates are looked up: those with the most jobs. The others' jobs count as unrated."""
BATCHES_SAMPLED = 5
"""Of each model: the largest. Its other batches are taken to be like them."""
JOBS_SAMPLED = 32
"""Of each of these: the next that will be sent."""
SHAPE = (Job.width, Job.height, Job.steps, Job.squeeze, Job.guidance_scale, Job.quality)


class Pool(NamedTuple):
    """Devices of one kind that draw images of one model."""

    device_kind: str
    model: str


@dataclass(frozen=True, slots=True)
class Backlog:
    """Jobs of active batches that are pending or leased, and the device time that they need.

    Any kind of device may draw a pending job: each pool is told what all of it would take there.
    Of several pools of one model these are alternatives, not parts of a sum.
    """

    jobs: Mapping[str, int]
    """By model; those that have some."""
    device_ns: Mapping[Pool, int]
    """Where a rate is known."""
    unrated_jobs: Mapping[Pool, int]
    """Where none is, of kinds that live workers have: time that `device_ns` does not tell."""
    oldest_batch_at: datetime | None
    """When the oldest active batch with pending jobs was made."""


def read_backlog(session: Session, alive: Collection[tuple[str, str]]) -> Backlog:
    """Add up what is to be drawn.

    Args:
        session: reads; until its transaction ends, Postgres would rather not sort.
        alive: device kinds of live workers, and models that they serve.
    """
    open_batches = _open_batches()
    jobs = _jobs_by_model(session, open_batches)
    rated = [model for model, _ in Counter(jobs).most_common(MOST_MODELS)]
    shapes = _shapes(session, open_batches, rated)
    device_ns: dict[Pool, int] = {}
    unrated: dict[Pool, int] = {}
    for model, count in jobs.items():
        rates = _by_kind(read_rates(session, model)) if model in shapes else {}
        serving = {kind for kind, served in alive if served == model}
        for kind in sorted(rates.keys() | serving) or [UNKNOWN]:
            if kind in rates:
                device_ns[Pool(kind, model)] = _time_of(count, rates[kind], shapes[model])
            else:
                unrated[Pool(kind, model)] = count
    oldest = session.scalar(
        select(func.min(open_batches.c.created_at)).where(open_batches.c.pending > 0)
    )
    return Backlog(jobs, device_ns, unrated, oldest)


def _open_batches() -> Subquery:
    """Select the active batches with jobs that are pending or leased, and how many these are."""
    counted = select(BatchCount.batch_id, BatchCount.pending, BatchCount.leased).where(
        # Of a row that says zero there may be very many: of every batch that is over.
        (BatchCount.pending != 0) | (BatchCount.leased != 0)
    )
    parts = union_all(counted, select(Tally.batch_id, Tally.pending, Tally.leased)).subquery()
    jobs = func.sum(parts.c.pending + parts.c.leased)
    summed = (
        select(parts.c.batch_id, jobs.label("jobs"), func.sum(parts.c.pending).label("pending"))
        .group_by(parts.c.batch_id)
        .having(jobs > 0)
        .subquery()
    )
    return (
        select(summed, Batch.model, Batch.created_at)
        .join(Batch, Batch.id == summed.c.batch_id)
        .where(Batch.control == BatchControl.ACTIVE)
        .subquery()
    )


def _jobs_by_model(session: Session, open_batches: Subquery) -> Mapping[str, int]:
    sums = select(open_batches.c.model, func.sum(open_batches.c.jobs))
    rows = session.execute(sums.group_by(open_batches.c.model).order_by(open_batches.c.model))
    return {model: int(jobs) for model, jobs in rows}


def _shapes(
    session: Session, open_batches: Subquery, models: Collection[str]
) -> Mapping[str, Counter[Shape]]:
    """Return how much each shape counts among the jobs of a model, as some of them tell."""
    largest_first = (open_batches.c.jobs.desc(), open_batches.c.batch_id)
    rank = func.row_number().over(partition_by=open_batches.c.model, order_by=largest_first)
    ranked = (
        select(open_batches, rank.label("rank")).where(open_batches.c.model.in_(models)).subquery()
    )
    chosen = select(ranked.c.model, ranked.c.batch_id, ranked.c.jobs)
    largest = session.execute(chosen.where(ranked.c.rank <= BATCHES_SAMPLED)).all()
    keep_to_index_order(session)
    weights: dict[str, Counter[Shape]] = {}
    for model, batch_id, jobs in largest:
        sample = _sample(session, batch_id)
        for shape, count in sample.items():
            of_model = weights.setdefault(model, Counter())
            of_model[shape] += int(jobs) * count * JOBS_SAMPLED // sample.total()
    return weights


def _sample(session: Session, batch_id: UUID) -> Counter[Shape]:
    """Return the shapes of some jobs of a batch: the next, or if all are sent, its last."""
    of_batch = select(*SHAPE).where(Job.batch_id == batch_id).limit(JOBS_SAMPLED)
    rows = session.execute(of_batch.where(IS_UNSENT).order_by(*UNSENT_ORDER)).all()
    rows = rows or session.execute(of_batch.order_by(Job.position.desc())).all()
    return Counter(Shape.of(*row) for row in rows)


def _by_kind(rates: Sequence[DeviceRate]) -> Mapping[str, Sequence[DeviceRate]]:
    """Sort rates by device kind; what was bought of one kind counts by its images."""
    kinds = {rate.device_kind for rate in rates}
    return {kind: [rate for rate in rates if rate.device_kind == kind] for kind in kinds}


def _time_of(jobs: int, rates: Sequence[DeviceRate], weights: Counter[Shape]) -> int:
    """Return the device time of some jobs in nanoseconds."""
    weighted = 0
    for shape, weight in weights.items():
        of_shape = estimate(rates, shape)
        weighted += weight * (of_shape.device_ns.expected if of_shape else 0)
    return jobs * weighted // weights.total()
