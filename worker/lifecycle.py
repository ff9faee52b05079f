"""The life of a worker's process under Celery: start, task, end."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import structlog
from celery import bootsteps, shared_task
from celery.exceptions import Reject
from celery.signals import worker_shutting_down
from pydantic import ValidationError

from shared.db.set_aside import set_aside
from shared.errors import TenstepError
from shared.messaging.contracts import RenderChunk, TaskName
from shared.settings import Settings
from shared.telemetry.logs import configure_logs
from shared.telemetry.traces import TRACEPARENT
from worker.chunk import DrainedError
from worker.device_faults import tell_why
from worker.devices import Device
from worker.draining import LET_GO_SECONDS
from worker.process import WorkerProcess, start_process
from worker.recycling import Recycling

log = structlog.get_logger()

MOST_WAKES = 4096
"""That are taken at once; more have the loop go round once more."""

_process: WorkerProcess | None = None
_recycled: list[str] = []
_wakes: set[int] = set()


@contextmanager
def work_on(
    settings: Settings, devices: Sequence[Device], worker_ids: Sequence[UUID]
) -> Iterator[WorkerProcess]:
    """Have workers on some devices while the block runs, and Celery's tasks draw with them.

    Raises:
        SystemExit: they do not start; why has been said.
    """
    global _process  # noqa: PLW0603 - one a process; Celery's tasks have no other place for it
    configure_logs(sys.stderr)
    try:
        process = _process = start_process(settings, devices, worker_ids)
    except Exception as error:
        log.exception("worker_does_not_start")
        tell_why(error)
        raise SystemExit(error.exit_code if isinstance(error, TenstepError) else 1) from None
    for runtime in process.runtimes:
        load_ms = runtime.load_ns // 10**6
        log.info("worker_ready", worker_id=str(runtime.worker_id), load_ms=load_ms)

    def drain(**_: Any) -> None:
        # Celery calls this inside a signal handler, where the interrupted code may hold
        # any lock: the database is safe to use only from another thread.
        threading.Thread(target=process.note_stopping, name="drain").start()
        _wake_loop()

    worker_shutting_down.connect(drain, weak=False)
    recycling = Recycling(settings)
    process.after_chunk = lambda: _recycle_if_due(recycling, process)
    yield process
    process.stop()


def was_recycled() -> bool:
    """Tell whether this process ended so that a fresh one takes its place."""
    return bool(_recycled)


def _recycle_if_due(recycling: Recycling, process: WorkerProcess) -> None:
    if not _recycled and (reason := recycling.is_due(process.images_drawn)):
        log.info("recycled", reason=reason)
        _recycled.append(reason)
        os.kill(os.getpid(), signal.SIGTERM)


@shared_task(name=TaskName.RENDER_CHUNK, ignore_result=True, bind=True)
def render(task: Any, message: dict[str, Any]) -> None:
    """Decode a pointer and draw what it points to; what cannot be decoded is set aside."""
    if _process is None:
        raise RuntimeError("a task came before the worker was ready")
    try:
        pointer = RenderChunk.model_validate(message)
    except ValidationError as error:
        _set_aside(_process, message, error)
        return
    try:
        _process.render(pointer, task.request.get(TRACEPARENT))
    except DrainedError:
        # Put back any sooner it would come straight back: the consumer lets go of its queue first.
        time.sleep(LET_GO_SECONDS)
        raise Reject("drained", requeue=True) from None
    finally:
        _wake_loop()


def _wake_loop() -> None:
    for end in _wakes:
        with suppress(BlockingIOError):  # full: it is about to wake up
            os.write(end, b"!")


def _set_aside(process: WorkerProcess, message: dict[str, Any], error: ValidationError) -> None:
    reason = f"not a pointer that this version knows: {error}"
    log.error("message_set_aside", fields=error.errors(include_url=False))
    runtime = process.runtimes[0]
    with runtime.database.write() as session:
        now = runtime.database.now(session)
        set_aside(session, runtime.worker_id, reason, json.dumps(message), now)


class WakeUp(bootsteps.StartStopStep):
    """Has Celery's loop go round when a chunk has left its device, or when it is to end.

    Left alone it would ask for the next chunk, or look at a signal, when its next timer is due.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._read_end, self._write_end = os.pipe()
        for end in (self._read_end, self._write_end):
            os.set_blocking(end, False)

    def start(self, parent: Any) -> None:
        """Begin when the consumer has subscribed to its queues."""
        _wakes.add(self._write_end)
        if parent.hub is not None:
            parent.hub.add_reader(self._read_end, self._read)

    def stop(self, parent: Any) -> None:
        """End with the connection; the next one begins again."""
        _wakes.discard(self._write_end)
        if parent.hub is not None:
            parent.hub.remove_reader(self._read_end)

    def _read(self) -> None:
        os.read(self._read_end, MOST_WAKES)
