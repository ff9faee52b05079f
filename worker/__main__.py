"""``python -m worker``: one worker, pinned to ``TENSTEP_DEVICE``, until SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from shared.errors import TenstepError
from worker.device_faults import tell_why
from worker.device_lock import hold_device
from worker.devices import Device, pin_environment
from worker.extra import require_worker_extra

COMPILED = "TORCHINDUCTOR_CACHE_DIR"
ORPHAN_GRACE_SECONDS = 5
"""An embedded Redis dies with the owner of both, and Celery would wait for it for ever."""


def _end_orphaned() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_GRACE_SECONDS)
    os._exit(1)


def main() -> int:
    """Load the first model, then have Celery bring chunks until SIGTERM."""
    # Celery's own modules are imported only after the environment is pinned.
    from shared.domain.identifiers import new_id
    from shared.settings import (
        WORKER_ID,
        assigned_worker_ids,
        load_settings,
        starter_pid,
        waits_to_begin,
    )
    from shared.telemetry.traces import WORKER, start_traces

    try:
        settings = load_settings()
        devices = Device.parse_all(settings.device)
        # Started by hand it has ids of its own.
        os.environ.setdefault(WORKER_ID, ",".join(str(new_id()) for _ in devices))
        worker_ids = assigned_worker_ids()
        require_worker_extra()
        lock = hold_device(devices[0], worker_ids[0], os.environ)
        pin_environment(devices[0], settings.cpu_threads)
        os.environ.setdefault(COMPILED, str(settings.data_dir.absolute() / "compiled"))
        start_traces(WORKER, is_on=settings.traces)
    except TenstepError as error:
        tell_why(error)
        return error.exit_code

    from shared.messaging.broker import broker_url
    from shared.messaging.celery_app import make_celery
    from shared.messaging.contracts import queue_name
    from shared.process import RECYCLED, watch_parent
    from worker.consumer import PollRecord, keep_message
    from worker.draining import DrainWatch
    from worker.lifecycle import WakeUp, was_recycled, work_on
    from worker.runtime import import_engine, served_cards
    from worker.transport import watch

    watch_parent(starter_pid(), _end_orphaned)
    if waits_to_begin():
        import_engine(settings, devices[0])
        if not sys.stdin.buffer.read(1):
            return 0
    with work_on(settings, devices, worker_ids) as process:
        app = make_celery(settings, broker_url(settings))
        app.conf.include = ["worker.lifecycle"]
        app.conf.worker_consumer = "worker.consumer:KeepingConsumer"
        app.steps["consumer"].update((PollRecord, DrainWatch, WakeUp))
        watch(keep_message)
        kind = devices[0].kind
        queues = [queue_name(kind, card.name) for card in served_cards(settings)]
        app.conf.broker_transport_options["queue_order_strategy"] = "worker.queue_order:InARow"
        # Its types say that it never returns; it does, and after an orderly end with nothing.
        run_worker: Callable[[list[str]], int | None] = app.worker_main
        status = run_worker(
            [
                "worker",
                "--pool=threads",
                f"--concurrency={process.places}",
                "--queues",
                ",".join(queues),
                "--loglevel=WARNING",
                "--without-gossip",
                "--without-mingle",
                "--hostname",
                f"{worker_ids[0].hex}@tenstep",
            ]
        )
    if lock is not None:
        lock.close()
    return RECYCLED if was_recycled() else status or 0


if __name__ == "__main__":
    sys.exit(main())
