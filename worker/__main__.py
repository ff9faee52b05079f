"""``python -m worker``: one worker, pinned to ``TENSTEP_DEVICE``, until SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from shared.errors import TenstepError
from worker.devices import Device, pin_environment
from worker.extra import require_worker_extra

ORPHAN_GRACE_SECONDS = 5
"""An embedded Redis dies with the owner of both, and Celery would wait for it for ever."""


def _end_orphaned() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_GRACE_SECONDS)
    # The child that holds the model ends by itself when this process is gone.
    os._exit(1)


def main() -> int:
    """Run Celery's parent process; it spawns the child that holds the model."""
    # Celery's own modules are imported only after the environment is pinned.
    from shared.settings import (
        STARTER_PID,
        WORKER_ID,
        assigned_worker_id,
        load_settings,
        starter_pid,
    )

    try:
        settings = load_settings()
        device = Device.parse(settings.device)
        require_worker_extra()
        pin_environment(device, settings.cpu_threads, os.environ)
    except TenstepError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code

    from celery.signals import worker_shutting_down

    from shared.db.engine import Database
    from shared.db.fleet import note_stopping
    from shared.domain.identifiers import new_id
    from shared.messaging.broker import broker_url
    from shared.messaging.celery_app import make_celery
    from shared.messaging.contracts import queue_name
    from shared.models.catalog import load_card
    from shared.process import watch_parent
    from worker.consumer import PollRecord, keep_message
    from worker.draining import DrainWatch
    from worker.transport import watch

    os.environ.setdefault(WORKER_ID, str(new_id()))

    database = Database(settings.resolved_database_url)

    def drain() -> None:
        with database.write() as session:
            note_stopping(session, assigned_worker_id(), database.now(session))

    def drain_apart(**_: Any) -> None:
        # Celery calls this inside a signal handler, where the interrupted code may hold
        # any lock: the database is safe to use only from another thread.
        threading.Thread(target=drain, name="drain").start()

    worker_shutting_down.connect(drain_apart, weak=False)
    watch_parent(starter_pid(), _end_orphaned)
    # For the child, which this process starts.
    os.environ[STARTER_PID] = str(os.getpid())
    card = load_card(settings.model, settings.resolved_models_dir)
    app = make_celery(settings, broker_url(settings))
    app.conf.include = ["worker.lifecycle"]
    app.conf.worker_consumer = "worker.consumer:KeepingConsumer"
    app.steps["consumer"].update((PollRecord, DrainWatch))
    watch(keep_message)
    # Its types say that it never returns; it does, and after an orderly end with nothing.
    run_worker: Callable[[list[str]], int | None] = app.worker_main
    status = run_worker(
        [
            "worker",
            "--pool=prefork",
            "--concurrency=1",
            "--queues",
            queue_name(device.kind, card.name),
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
            "--hostname",
            f"{assigned_worker_id().hex}@tenstep",
        ]
    )
    return status or 0


if __name__ == "__main__":
    sys.exit(main())
