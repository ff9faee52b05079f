"""Workers as programs see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.fleet import count_ready_workers, is_live, live_workers
from shared.db.served_models import Served, models_of, served_by
from shared.db.tables import Worker
from shared.domain.workers import WorkerState
from shared.models.catalog import served_cards
from shared.settings import Settings

TIMES = (
    *("online_at", "started_at", "heartbeat_at", "last_claim_at", "polled_at"),
    *("stopping_at", "stopped_at"),
)
FACTS = (
    *("host", "pid", "device", "device_kind", "device_sku", "device_name"),
    *("backend", "model", "queue", "version", "weights_sha256", "draining"),
)


def worker_documents(
    session: Session, settings: Settings, now: datetime, limit: int, *, only_live: bool
) -> Sequence[dict[str, Any]]:
    """Describe the newest workers, newest first.

    Args:
        session: reads.
        settings: how long a worker may be silent.
        now: the time, by the workers' clock.
        limit: how many at most.
        only_live: leave out those that have ended or are silent.
    """
    live = live_workers(session, now, timedelta(seconds=settings.lease_seconds))
    alive = {worker.id for worker in live}
    newest = select(Worker).order_by(Worker.id.desc()).limit(limit)
    workers = list(reversed(live))[:limit] if only_live else session.scalars(newest).all()
    models = models_of(session, workers)
    return [_document(one, models[one.id], is_alive=one.id in alive) for one in workers]


def worker_document(
    session: Session, settings: Settings, now: datetime, worker: Worker
) -> dict[str, Any]:
    """Describe a worker; the arguments are those of `worker_documents`."""
    silence = timedelta(seconds=settings.lease_seconds)
    is_alive = is_live(session, now, silence, worker.id)
    return _document(worker, served_by(session, [worker]), is_alive=is_alive)


def served_document(served: Served) -> dict[str, Any]:
    """Describe one of a worker's models."""
    return {"model": served.model, "queue": served.queue, "is_loaded": served.is_loaded}


def _document(worker: Worker, models: Sequence[Served], *, is_alive: bool) -> dict[str, Any]:
    times = {name: getattr(worker, name) for name in TIMES}
    return {
        "worker_id": str(worker.id),
        "alive": is_alive,
        "state": _state(worker, is_alive=is_alive).value,
        **{name: getattr(worker, name) for name in FACTS},
        "models": [served_document(served) for served in models],
        **{name: moment and moment.isoformat() for name, moment in times.items()},
    }


def _state(worker: Worker, *, is_alive: bool) -> WorkerState:
    if worker.stopped_at is not None:
        return WorkerState.ENDED
    if not is_alive:
        return WorkerState.SILENT
    if worker.stopping_at is not None:
        return WorkerState.STOPPING
    return WorkerState.DRAINED if worker.draining else WorkerState.READY


def model_documents(session: Session, settings: Settings, now: datetime) -> list[dict[str, Any]]:
    """Describe the models that batches can ask for, the server's own first."""
    silence = timedelta(seconds=settings.lease_seconds)
    cards = served_cards(settings.model, settings.resolved_models_dir)
    return [
        {
            "name": card.name,
            "title": card.title,
            "licence": card.licence,
            "width": card.width,
            "height": card.height,
            "sampler": card.sampler.model_dump(mode="json"),
            "searched_timesteps": card.searched_grids,
            "weights": card.weights,
            "note": card.note,
            "is_default": index == 0,
            "workers_alive": count_ready_workers(session, now, silence, card.name),
        }
        for index, card in enumerate(cards)
    ]
