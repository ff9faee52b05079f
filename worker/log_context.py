"""What lines of the log are about: bound where work begins, for a thread knows no other's."""

from __future__ import annotations

from contextlib import AbstractContextManager
from uuid import UUID

from structlog.contextvars import bound_contextvars

from shared.db.leases import Lease
from shared.messaging.contracts import RenderChunk


def about_chunk(worker_id: UUID, message: RenderChunk) -> AbstractContextManager[None]:
    """Have all lines of this thread say which chunk they are about, while the block runs."""
    return bound_contextvars(
        worker_id=str(worker_id), batch_id=str(message.batch_id), chunk_id=str(message.chunk_id)
    )


def about_attempt(worker_id: UUID, held: Lease) -> AbstractContextManager[None]:
    """Have all lines of this thread say which attempt they are about, while the block runs."""
    return bound_contextvars(
        worker_id=str(worker_id),
        batch_id=str(held.job.batch_id),
        chunk_id=str(held.job.chunk_id),
        job_id=str(held.job.id),
        attempt_id=str(held.attempt.id),
        attempt=held.job.attempts,
    )
