"""What a worker adds to the trace of a chunk where not all goes well."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.clock import utc_now
from shared.db.engine import Database
from shared.messaging.contracts import RenderChunk
from shared.settings import Settings
from shared.telemetry import traces
from shared.telemetry.recorder import Recorder, SpanSender
from support.factories import add_batch, add_price, attempts_of, dispatch, jobs_of
from support.worker import start_worker

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Where this process's spans go, instead of over the network."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    recorder = Recorder(provider, SpanSender(kept))
    monkeypatch.setattr(traces, "_recorder", recorder)
    yield kept
    recorder.close()


def draw(
    settings: Settings, worker_id: UUID, database: Database, traceparent: str | None
) -> RenderChunk:
    """Have a chunk of two drawn, of which one cannot be."""
    with database.write() as session:
        add_price(session)
        batch_id = add_batch(session, jobs=2).id
        jobs_of(session, batch_id)[1].squeeze = "900,10"
        chunk_id = dispatch(session, batch_id, now=utc_now())
    message = RenderChunk(chunk_id=chunk_id, batch_id=batch_id)
    process = start_worker(settings, worker_id)
    process.render(message, traceparent)
    process.wait_for_images()
    process.stop()
    return message


def test_an_attempt_that_fails_is_a_span_with_its_error_code(
    settings: Settings,
    worker_id: UUID,
    sqlite_database: Database,
    memory: InMemorySpanExporter,
) -> None:
    message = draw(settings, worker_id, sqlite_database, SAMPLED)

    with sqlite_database.read() as session:
        attempts = {str(one.job_id): one for one in attempts_of(session, message.batch_id)}
    spans = memory.get_finished_spans()
    images = {about(span)["tenstep.job_id"]: span for span in spans if span.name == "image"}
    assert images.keys() == attempts.keys()
    for job_id, span in images.items():
        attempt = attempts[job_id]
        assert span.status.is_ok is (attempt.error_code is None)
        assert about(span).get("error.type") == attempt.error_code
        assert about(span)["tenstep.outcome"] == attempt.outcome
        assert about(span)["tenstep.attempt_id"] == str(attempt.id)
    failed = [span for span in spans if not span.status.is_ok]
    assert {span.name for span in failed} == {"pass", "image"}
    assert {f"{span.context.trace_id:032x}" for span in spans} == {TRACE}


@pytest.mark.parametrize("traceparent", [None, NOT_SAMPLED, "nonsense"])
def test_of_a_chunk_outside_the_sample_nothing_is_recorded(
    settings: Settings,
    worker_id: UUID,
    sqlite_database: Database,
    memory: InMemorySpanExporter,
    traceparent: str | None,
) -> None:
    message = draw(settings, worker_id, sqlite_database, traceparent)

    with sqlite_database.read() as session:
        assert len(attempts_of(session, message.batch_id)) == 2
    assert memory.get_finished_spans() == ()


def about(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})
