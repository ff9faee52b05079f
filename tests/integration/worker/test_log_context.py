"""Lines of a worker's log say which batch, chunk, job and attempt they are about."""

from __future__ import annotations

from uuid import UUID

from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from shared.clock import utc_now
from shared.db.engine import Database
from shared.messaging.contracts import RenderChunk
from shared.settings import Settings
from support.factories import add_batch, add_price, attempts_of, dispatch, jobs_of
from support.worker import start_worker


def test_lines_of_an_attempt_and_of_a_chunk_name_it(
    settings: Settings, worker_id: UUID, sqlite_database: Database
) -> None:
    with sqlite_database.write() as session:
        add_price(session)
        batch_id = add_batch(session, jobs=2).id
        jobs_of(session, batch_id)[1].squeeze = "900,10"
        chunk_id = dispatch(session, batch_id, now=utc_now())
    message = RenderChunk(chunk_id=chunk_id, batch_id=batch_id)
    process = start_worker(settings, worker_id)

    with capture_logs(processors=[merge_contextvars]) as lines:
        process.render(message)
        process.wait_for_images()
        process.render(message)
    process.stop()

    about_chunk = {
        "worker_id": str(worker_id),
        "batch_id": str(batch_id),
        "chunk_id": str(chunk_id),
    }
    with sqlite_database.read() as session:
        expected = [
            {**about_chunk, "job_id": str(one.job_id), "attempt_id": str(one.id), "attempt": 1}
            for one in attempts_of(session, batch_id)
        ]
    named = {line["event"]: {key: line.get(key) for key in expected[0]} for line in lines}
    ended = [named["image_done"], named["attempt_failed"]]
    assert sorted(ended, key=lambda line: str(line["attempt_id"])) == sorted(
        expected, key=lambda line: str(line["attempt_id"])
    )
    nothing = named["chunk_has_nothing_to_claim"]
    assert {key: nothing[key] for key in about_chunk} == about_chunk
    assert nothing["job_id"] is None
