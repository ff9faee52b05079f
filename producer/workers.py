"""What a person decides about a worker: that it takes nothing more, that it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from producer.fleet_documents import worker_document
from shared.db.engine import Database
from shared.db.tables import Worker
from shared.errors import InputError
from shared.settings import Settings

HINT = "tenstep workers list shows those that are alive."


class UnknownWorkerError(InputError):
    """There is no such worker."""

    def __init__(self, worker_id: UUID) -> None:
        super().__init__(f"no worker {worker_id}", hint=HINT)


def drain_worker(database: Database, settings: Settings, worker_id: UUID) -> dict[str, Any]:
    """Have a worker finish what is in its device and take nothing more, until it is resumed.

    It gives back what it has claimed and not begun, and keeps its model loaded. One that drains
    already goes on draining.

    Returns:
        The worker, as `producer.fleet_documents` describes it.

    Raises:
        UnknownWorkerError: there is none.
        InputError: it has ended.
    """
    return _decide(database, settings, worker_id, _drain)


def resume_worker(database: Database, settings: Settings, worker_id: UUID) -> dict[str, Any]:
    """Have a drained worker take jobs again; one that takes them goes on.

    Returns:
        The worker, as `producer.fleet_documents` describes it.

    Raises:
        UnknownWorkerError: there is none.
        InputError: it has ended, or its process was told to.
    """
    return _decide(database, settings, worker_id, _resume)


def _decide(
    database: Database, settings: Settings, worker_id: UUID, change: Callable[[Worker], None]
) -> dict[str, Any]:
    with database.write() as session:
        worker = session.get(Worker, worker_id, with_for_update=True)
        if worker is None:
            raise UnknownWorkerError(worker_id)
        if worker.stopped_at is not None:
            ended = f"{worker.stopped_at:%Y-%m-%d %H:%M:%S} UTC"
            raise InputError(f"worker {worker_id} ended at {ended}", hint=HINT)
        change(worker)
        return worker_document(session, settings, database.now(session), worker)


def _drain(worker: Worker) -> None:
    worker.draining = True


def _resume(worker: Worker) -> None:
    if worker.stopping_at is not None:
        raise InputError(
            f"worker {worker.id} is stopping: its process was told to",
            hint="Start another one: tenstep worker.",
        )
    worker.draining = False
