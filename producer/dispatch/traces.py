"""The trace of a chunk, which begins when it is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from uuid import UUID

from sqlalchemy import select

from shared.db.engine import Database
from shared.db.tables import Batch
from shared.messaging.contracts import RenderChunk
from shared.telemetry.traces import active_recorder

MOST_REMEMBERED = 1_000
"""Batches whose submission is not looked up again."""


class ChunkTraces:
    """Begins a trace for each chunk: one for a batch of millions would be of no use.

    It is linked to the submission of the chunk's batch, where that was traced.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._submissions: dict[UUID, str | None] = {}

    @contextmanager
    def sending(self, queue: str, messages: Sequence[RenderChunk]) -> Iterator[Mapping[UUID, str]]:
        """Record that chunks are sent while the block runs.

        Returns:
            What is to travel with each; nothing while nothing is recorded.
        """
        recorder = active_recorder()
        if recorder is None:
            yield {}
            return
        from opentelemetry.trace import SpanKind

        from shared.telemetry.recorder import traceparent_of

        with ExitStack() as spans:
            traceparents: dict[UUID, str] = {}
            for message in messages:
                about = {
                    "tenstep.batch_id": str(message.batch_id),
                    "tenstep.chunk_id": str(message.chunk_id),
                    "tenstep.queue": queue,
                }
                link = self._submission_of(message.batch_id)
                span = recorder.span("chunk", about, link=link, kind=SpanKind.PRODUCER)
                traceparents[message.chunk_id] = traceparent_of(spans.enter_context(span))
            yield traceparents

    def _submission_of(self, batch_id: UUID) -> str | None:
        if batch_id not in self._submissions:
            if len(self._submissions) == MOST_REMEMBERED:
                self._submissions.clear()
            with self._database.read() as session:
                found = session.scalar(select(Batch.traceparent).where(Batch.id == batch_id))
            self._submissions[batch_id] = found
        return self._submissions[batch_id]
