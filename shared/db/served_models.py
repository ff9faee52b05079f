"""Which models each worker serves, and which of them are in its device's memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, or_, select, update
from sqlalchemy.orm import Session

from shared.db.model_tables import WorkerModel
from shared.db.tables import Worker


@dataclass(frozen=True, slots=True)
class Served:
    """One of the models of a worker."""

    worker: Worker
    model: str
    queue: str
    sizes: list[list[int]] | None
    """Width and height of the only images that it can draw; None is any."""
    is_loaded: bool


def serves(model: str) -> ColumnElement[bool]:
    """Return the condition that a worker serves a model."""
    also = select(WorkerModel.worker_id).where(
        WorkerModel.worker_id == Worker.id, WorkerModel.model == model
    )
    return or_(Worker.model == model, also.exists())


def served_by(session: Session, workers: Collection[Worker]) -> Sequence[Served]:
    """Return all models of some workers: of each its first, then the others by name.

    A worker of an older version says nothing of its models, and has one.
    """
    rows: dict[UUID, list[WorkerModel]] = {}
    wanted = select(WorkerModel).where(WorkerModel.worker_id.in_([one.id for one in workers]))
    for row in session.scalars(wanted.order_by(WorkerModel.model)) if workers else ():
        rows.setdefault(row.worker_id, []).append(row)
    return [served for worker in workers for served in _of(worker, rows.get(worker.id, ()))]


def models_of(session: Session, workers: Collection[Worker]) -> Mapping[UUID, Sequence[Served]]:
    """Return what `served_by` does, by worker."""
    found: dict[UUID, list[Served]] = {worker.id: [] for worker in workers}
    for served in served_by(session, workers):
        found[served.worker.id].append(served)
    return found


def of_model(served: Collection[Served], model: str) -> list[Served]:
    """Keep what is of a model."""
    return [one for one in served if one.model == model]


def _of(worker: Worker, rows: Sequence[WorkerModel]) -> Sequence[Served]:
    told = [
        Served(worker, row.model, row.queue, row.sizes, row.loaded_at is not None) for row in rows
    ]
    if not any(one.model == worker.model for one in told):
        told.append(Served(worker, worker.model, worker.queue, worker.sizes, is_loaded=True))
    return sorted(told, key=lambda one: one.model != worker.model)


def note_loaded(
    session: Session,
    worker_id: UUID,
    model: str,
    *,
    weights_sha256: str | None,
    sizes: list[list[int]] | None,
    load_ns: int,
    now: datetime,
) -> None:
    """Record that a model is in a worker's memory from now on."""
    row = session.get_one(WorkerModel, (worker_id, model))
    row.weights_sha256, row.sizes = weights_sha256, sizes
    row.loaded_at, row.load_ns = now, load_ns


def note_kept(session: Session, worker_id: UUID, models: Collection[str]) -> None:
    """Record that of a worker's models none but these are in memory."""
    session.execute(
        update(WorkerModel)
        .where(WorkerModel.worker_id == worker_id, WorkerModel.model.not_in(models))
        .values(loaded_at=None),
        execution_options={"synchronize_session": False},
    )


def latest_weights(session: Session, model: str) -> str | None:
    """Return the hash of the weights that a model's last worker had; None if nobody knows."""
    # A worker of an older version says nothing of its models.
    says_nothing = WorkerModel.worker_id.is_(None)
    weights = case((says_nothing, Worker.weights_sha256), else_=WorkerModel.weights_sha256)
    of_worker = and_(WorkerModel.worker_id == Worker.id, WorkerModel.model == model)
    found: str | None = session.scalar(
        select(weights)
        .select_from(Worker)
        .outerjoin(WorkerModel, of_worker)
        .where(or_(Worker.model == model, WorkerModel.model == model), weights.is_not(None))
        .order_by(Worker.started_at.desc())
        .limit(1)
    )
    return found
