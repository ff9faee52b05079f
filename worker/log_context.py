"""What lines of the log are about: bound where work begins, for a thread knows no other's."""

from __future__ import annotations

from contextlib import AbstractContextManager

from structlog.contextvars import bound_contextvars

from shared.db.leases import Lease
from shared.messaging.contracts import RenderChunk
from worker.runtime import Runtime


def about_chunk(runtime: Runtime, message: RenderChunk) -> AbstractContextManager[None]:
    """Have all lines of this thread say which chunk they are about, while the block runs."""
    return bound_contextvars(
        worker_id=str(runtime.worker_id),
        batch_id=str(message.batch_id),
        chunk_id=str(message.chunk_id),
        **_trace(runtime),
    )


def about_attempt(runtime: Runtime, held: Lease) -> AbstractContextManager[None]:
    """Have all lines of this thread say which attempt they are about, while the block runs."""
    return bound_contextvars(
        worker_id=str(runtime.worker_id),
        batch_id=str(held.job.batch_id),
        chunk_id=str(held.job.chunk_id),
        job_id=str(held.job.id),
        attempt_id=str(held.attempt.id),
        attempt=held.job.attempts,
        **_trace(runtime),
    )


def _trace(runtime: Runtime) -> dict[str, str]:
    return {} if runtime.trace is None else {"trace": runtime.trace.trace_id}
