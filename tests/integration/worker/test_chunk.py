"""A worker and a chunk, with a real model, database and store."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from PIL import Image

from shared.clock import utc_now
from shared.db.batches import cancel_batch, count_jobs, find_batch
from shared.db.engine import Database
from shared.db.fleet import note_stopping
from shared.db.ledger import Entry, append
from shared.db.tables import Batch, Job, Worker
from shared.domain.jobs import AttemptOutcome, JobState, LedgerKind
from shared.domain.prompts import ImageSettings
from shared.errors import ConfigurationError
from shared.messaging.contracts import RenderChunk
from shared.settings import Settings
from support.factories import add_batch, attempts_of, dispatch, jobs_of, ledger_of
from support.worker import render, start_worker
from worker.backends.base import BackendRecord
from worker.chunk import DrainedError
from worker.drawing import Drawing
from worker.runtime import Runtime


def put_in_queue(database: Database, jobs: int) -> RenderChunk:
    with database.write() as session:
        batch_id = add_batch(session, jobs=jobs).id
        chunk_id = dispatch(session, batch_id, now=utc_now())
    return RenderChunk(chunk_id=chunk_id, batch_id=batch_id)


def states(database: Database, batch_id: UUID) -> dict[str, int]:
    with database.read() as session:
        return {str(state): n for state, n in count_jobs(session, batch_id).items() if n}


def test_every_job_of_a_chunk_gets_its_image_its_times_and_its_cost(
    runtime: Runtime, sqlite_database: Database
) -> None:
    message = put_in_queue(sqlite_database, jobs=3)

    render(runtime, message)

    with sqlite_database.read() as session:
        jobs = jobs_of(session, message.batch_id)
        attempts = attempts_of(session, message.batch_id)
        entries = ledger_of(session, message.batch_id)
    assert [job.state for job in jobs] == [JobState.DONE] * 3
    assert len({job.image_sha256 for job in jobs}) == 3
    for job in jobs:
        assert job.image_key is not None
        with Image.open(io.BytesIO(runtime.store.get(job.image_key))) as image:
            assert image.size == (64, 64)
    for attempt in attempts:
        assert attempt.outcome == AttemptOutcome.DONE
        phases = (attempt.text_encode_ns, attempt.denoise_ns, attempt.decode_ns)
        assert attempt.device_ns == sum(phase or 0 for phase in phases) > 0
        assert attempt.record is not None
        assert attempt.record["precision"] == "float32"
    kinds = [entry.kind for entry in entries]
    assert kinds.count(LedgerKind.RENDER) == 3
    assert kinds.count(LedgerKind.MODEL_LOAD) == 1


def test_a_message_that_comes_twice_draws_nothing_twice(
    runtime: Runtime, sqlite_database: Database
) -> None:
    message = put_in_queue(sqlite_database, jobs=2)

    render(runtime, message)
    render(runtime, message)

    with sqlite_database.read() as session:
        assert len(attempts_of(session, message.batch_id)) == 2


def test_a_job_that_cannot_be_drawn_fails_at_once_and_its_neighbours_are_drawn(
    runtime: Runtime, sqlite_database: Database
) -> None:
    message = put_in_queue(sqlite_database, jobs=3)
    with sqlite_database.write() as session:
        jobs_of(session, message.batch_id)[1].squeeze = "900,10"

    render(runtime, message)

    with sqlite_database.read() as session:
        jobs = jobs_of(session, message.batch_id)
        entries = ledger_of(session, message.batch_id)
    assert [job.state for job in jobs] == ["done", "failed", "done"]
    [wasted] = [entry for entry in entries if entry.kind == LedgerKind.FAILED_ATTEMPT]
    assert wasted.job_id == jobs[1].id
    assert jobs[1].error_code == "bad_settings"
    assert "900" in (jobs[1].error_message or "")


def test_a_store_that_fails_costs_an_attempt_and_not_the_job(
    runtime: Runtime, sqlite_database: Database, tmp_path: Path
) -> None:
    message = put_in_queue(sqlite_database, jobs=1)
    shutil.rmtree(tmp_path / "objects", ignore_errors=True)
    (tmp_path / "objects").write_text("a file where the folder was", "utf-8")

    render(runtime, message)

    with sqlite_database.read() as session:
        [job] = jobs_of(session, message.batch_id)
        [attempt] = attempts_of(session, message.batch_id)
    assert job.state == JobState.PENDING
    assert job.not_before is not None
    assert attempt.outcome == AttemptOutcome.FAILED
    assert attempt.error_code == "store_unavailable"
    assert attempt.device_ns
    assert attempt.cost_nanodollars is not None

    (tmp_path / "objects").unlink()
    with sqlite_database.write() as session:
        chunk_id = dispatch(session, message.batch_id, now=utc_now())
    render(runtime, RenderChunk(chunk_id=chunk_id, batch_id=message.batch_id))
    assert states(sqlite_database, message.batch_id) == {"done": 1}


def test_a_drained_worker_claims_nothing_and_the_message_is_for_others(
    runtime: Runtime, sqlite_database: Database
) -> None:
    message = put_in_queue(sqlite_database, jobs=2)
    with sqlite_database.write() as session:
        session.get_one(Worker, runtime.worker_id).draining = True

    with pytest.raises(DrainedError):
        render(runtime, message)

    assert states(sqlite_database, message.batch_id) == {"pending": 2}


def test_a_stopping_worker_claims_nothing(runtime: Runtime, sqlite_database: Database) -> None:
    message = put_in_queue(sqlite_database, jobs=2)
    with sqlite_database.write() as session:
        note_stopping(session, runtime.worker_id, sqlite_database.now(session))

    render(runtime, message)

    assert states(sqlite_database, message.batch_id) == {"pending": 2}


def test_a_cancelled_batch_is_not_drawn(runtime: Runtime, sqlite_database: Database) -> None:
    message = put_in_queue(sqlite_database, jobs=2)
    with sqlite_database.write() as session:
        cancel_batch(session, find_batch(session, str(message.batch_id)), utc_now())

    render(runtime, message)

    assert states(sqlite_database, message.batch_id) == {"cancelled": 2}


def test_a_living_worker_is_seen_to_live(runtime: Runtime, sqlite_database: Database) -> None:
    def heartbeat() -> object:
        with sqlite_database.read() as session:
            return session.get_one(Worker, runtime.worker_id).heartbeat_at

    first = heartbeat()
    deadline = time.monotonic() + 10
    while heartbeat() == first:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_image_is_the_same_in_a_batch_of_any_size(runtime: Runtime) -> None:
    """To within two shades of 255: a batch of another size rounds differently."""
    jobs = [
        ImageSettings(
            prompt=f"prompt {seed}",
            seed=seed,
            width=64,
            height=64,
            steps=16,
            squeeze="10,6",
            guidance_scale=4,
            guidance_rescale=0.7,
        )
        for seed in range(5)
    ]
    alone = [runtime.pipeline.draw([job])[0].pixels for job in jobs]
    for size in (2, 5):
        together = [drawing.pixels for drawing in runtime.pipeline.draw(jobs[:size])]
        for one, other in zip(alone, together, strict=False):
            assert abs(one.astype(int) - other).max() <= 2
    assert abs(alone[0].astype(int) - alone[1]).max() > 2


def test_a_worker_without_a_price_for_its_device_does_not_start(
    settings: Settings, worker_id: UUID, sqlite_database: Database
) -> None:
    from sqlalchemy import delete

    from shared.db.cost_tables import Price

    with sqlite_database.write() as session:
        session.execute(delete(Price))

    with pytest.raises(ConfigurationError, match="no price is set for device kind 'cpu'"):
        start_worker(settings, worker_id)
    with sqlite_database.read() as session:
        assert session.get(Worker, worker_id) is None


def test_a_lease_is_not_renewed_once_its_chunk_is_over(
    runtime: Runtime, sqlite_database: Database
) -> None:
    """Else a job whose end could not be written down would stay leased for ever."""
    message = put_in_queue(sqlite_database, jobs=1)
    long_ago = utc_now() - timedelta(hours=1)
    with sqlite_database.write() as session:
        [job] = jobs_of(session, message.batch_id)
        job.state = JobState.LEASED
        job.worker_id = runtime.worker_id
        job.lease_expires_at = long_ago
        job_id = job.id
    time.sleep(0.5)

    with sqlite_database.read() as session:
        assert session.get_one(Job, job_id).lease_expires_at == long_ago


class PatientPipeline:
    """Draws when all that was drawn before is in the books, however slow the disk is."""

    compiled_sizes = None

    def __init__(self, runtime: Runtime) -> None:
        self._pipeline = runtime.pipeline
        self._in_hand = runtime.in_hand

    def prepare(self, jobs: Sequence[ImageSettings]) -> Any:
        return self._pipeline.prepare(jobs)

    def draw_prepared(self, prepared: Any, *, check_safety: bool = True) -> list[Drawing]:
        self._in_hand.wait_for_images()
        return self._pipeline.draw_prepared(prepared, check_safety=check_safety)

    def describe(self) -> BackendRecord:
        return self._pipeline.describe()


def test_a_chunk_whose_images_cost_more_than_expected_is_stopped_between_images(
    runtime: Runtime, sqlite_database: Database
) -> None:
    # The model's loading is on the bill of the first batch.
    render(runtime, put_in_queue(sqlite_database, jobs=1))
    runtime.model.in_memory = PatientPipeline(runtime)
    message = put_in_queue(sqlite_database, jobs=8)
    now = utc_now()
    with sqlite_database.write() as session:
        cheap = Entry(
            event_id="an image before",
            kind=LedgerKind.RENDER,
            batch_id=message.batch_id,
            amount_nanodollars=1,
            priced_at=now,
            booked_at=now,
        )
        append(session, cheap)
        session.get_one(Batch, message.batch_id).max_nanodollars = 1 + 8

    render(runtime, message)

    drawn = states(sqlite_database, message.batch_id)["done"]
    assert drawn <= 3, "one that is published, one that is drawn, one that is begun"
    assert states(sqlite_database, message.batch_id)["pending"] == 8 - drawn
    with sqlite_database.read() as session:
        waiting = [job for job in jobs_of(session, message.batch_id) if job.state == "pending"]
    assert {(job.attempts, job.chunk_id) for job in waiting} == {(0, None)}
