"""The life of a worker process under Celery: start, task, end.

Celery imports this module in its parent process too, which must stay free of torch: what
needs torch is imported by the one child that holds the model.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import structlog
from celery import shared_task
from celery.exceptions import Reject
from celery.signals import worker_process_init, worker_process_shutdown
from pydantic import ValidationError

from shared.db.set_aside import set_aside
from shared.messaging.contracts import RenderChunk, TaskName
from shared.process import watch_parent
from shared.settings import assigned_worker_id, load_settings, starter_pid
from shared.telemetry.logs import configure_logs
from worker.device_faults import tell_why
from worker.draining import LET_GO_SECONDS
from worker.retry import DeviceLostError

if TYPE_CHECKING:
    from worker.runtime import Runtime

log = structlog.get_logger()

_runtime: Runtime | None = None


@worker_process_init.connect
def _start(**_: Any) -> None:
    global _runtime  # noqa: PLW0603 - one a process; Celery's hooks have no other place for it
    from worker.runtime import start_runtime, take_back_from_predecessor

    configure_logs(sys.stderr)
    watch_parent(starter_pid(), lambda: os._exit(1))
    try:
        if take_back_from_predecessor(load_settings(), assigned_worker_id()):
            log.error("drawing_process_died", worker_id=str(assigned_worker_id()))
            # A worker is one process that draws: whoever watches over it starts another.
            os.kill(os.getppid(), signal.SIGKILL)
            os._exit(1)
        _runtime = start_runtime(load_settings(), assigned_worker_id())
    except Exception as error:
        log.exception("worker_does_not_start")
        tell_why(error)
        os.kill(os.getppid(), signal.SIGKILL)
        os._exit(1)
    log.info("worker_ready", worker_id=str(_runtime.worker_id), load_ms=_runtime.load_ns // 10**6)


@worker_process_shutdown.connect
def _stop(**_: Any) -> None:
    from worker.runtime import stop_runtime

    if _runtime is not None:
        stop_runtime(_runtime)


@shared_task(name=TaskName.RENDER_CHUNK, ignore_result=True)
def render(message: dict[str, Any]) -> None:
    """Decode a pointer and draw what it points to; what cannot be decoded is set aside."""
    from worker.chunk import DrainedError, render_chunk

    if _runtime is None:
        raise RuntimeError("a task came before the worker was ready")
    try:
        pointer = RenderChunk.model_validate(message)
    except ValidationError as error:
        reason = f"not a pointer that this version knows: {error}"
        log.exception("message_set_aside", fields=error.errors(include_url=False))
        with _runtime.database.write() as session:
            now = _runtime.database.now(session)
            set_aside(session, _runtime.worker_id, reason, json.dumps(message), now)
        return
    try:
        render_chunk(_runtime, pointer)
    except DrainedError:
        # Put back any sooner it would come straight back: the consumer lets go of its queue first.
        time.sleep(LET_GO_SECONDS)
        raise Reject("drained", requeue=True) from None
    except DeviceLostError as error:
        log.exception("device_lost")
        tell_why(error)
        # Only the end of the process frees the device; its next one takes the jobs back.
        os.kill(os.getpid(), signal.SIGKILL)
