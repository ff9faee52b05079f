"""Several images at once on a device: what fits, what fails, what an outage costs."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from shared.db.lost_leases import release_worker
from shared.db.tables import Fit, Job
from shared.domain.jobs import JobState
from shared.domain.prompts import ImageSettings
from shared.messaging.contracts import RenderChunk
from support.factories import add_batch, attempts_of, dispatch, jobs_of, ledger_of
from support.worker import render
from worker.backends.base import BackendRecord
from worker.drawing import Drawing, Draws
from worker.retry import DeviceLostError
from worker.runtime import Runtime
from worker.simulated import FAIL, FAIL_ONCE_IN_TWO, LOSE_DEVICE

Start = Callable[..., Runtime]


def draw(runtime: Runtime, *, jobs: int = 8, prompts: dict[int, str] | None = None) -> UUID:
    with runtime.database.write() as session:
        batch_id = add_batch(session, jobs=jobs, model=runtime.model.name).id
        for position, prompt in (prompts or {}).items():
            this = (Job.batch_id == batch_id) & (Job.position == position)
            session.execute(update(Job).where(this).values(prompt=prompt))
        chunk_id = dispatch(session, batch_id, now=runtime.database.now(session))
    render(runtime, RenderChunk(chunk_id=chunk_id, batch_id=batch_id))
    return batch_id


def states(runtime: Runtime, batch_id: UUID) -> list[str]:
    with runtime.database.read() as session:
        return [job.state for job in jobs_of(session, batch_id)]


def test_a_pass_that_does_not_fit_is_halved_until_it_does_and_that_is_remembered(
    start: Start,
) -> None:
    first = start(images_per_pass=8, simulated_images=3)
    assert states(first, draw(first)) == [JobState.DONE] * 8
    with first.database.read() as session:
        fits = session.scalars(select(Fit)).all()
    assert [(fit.model, fit.width, fit.height, fit.images) for fit in fits] == [
        ("emoji-64", 64, 64, 2)
    ]

    second = start(images_per_pass=8, simulated_images=3)
    batch_id = draw(second)
    assert second.fits == {(64, 64): 2}
    with second.database.read() as session:
        assert all(attempt.number == 1 for attempt in attempts_of(session, batch_id))


class Activations:
    """What a pass keeps on a device while it lasts."""


class FullDevice:
    """Has room for the activations of one pass, of two images at most."""

    def __init__(self, pipeline: Draws) -> None:
        self._pipeline = pipeline
        self._held = weakref.WeakSet[Activations]()

    def prepare(self, jobs: Sequence[ImageSettings]) -> Sequence[ImageSettings]:
        return self._pipeline.prepare(jobs)

    def draw_prepared(
        self, prepared: Sequence[ImageSettings], *, check_safety: bool = True
    ) -> list[Drawing]:
        jobs = prepared
        activations = Activations()
        self._held.add(activations)
        if len(jobs) > 2 or len(self._held) > 1:
            raise MemoryError(f"{len(jobs)} images, beside {len(self._held) - 1} earlier passes")
        return self._pipeline.draw_prepared(jobs, check_safety=check_safety)

    @property
    def compiled_sizes(self) -> None:
        """It draws any size."""

    def describe(self) -> BackendRecord:
        return self._pipeline.describe()


def test_a_pass_that_did_not_fit_leaves_the_device_to_the_smaller_ones(start: Start) -> None:
    runtime = start(images_per_pass=8)
    runtime.model.in_memory = FullDevice(runtime.pipeline)

    assert states(runtime, draw(runtime)) == [JobState.DONE] * 8
    assert runtime.fits == {(64, 64): 2}


def test_a_device_that_is_lost_fails_no_job_that_another_could_draw(start: Start) -> None:
    """What was drawn before is kept; the rest is taken back from the process that ends."""
    runtime = start(images_per_pass=2)
    with runtime.database.write() as session:
        batch_id = add_batch(session, jobs=6, model=runtime.model.name).id
        this = (Job.batch_id == batch_id) & (Job.position == 2)
        session.execute(update(Job).where(this).values(prompt=LOSE_DEVICE))
        chunk_id = dispatch(session, batch_id, now=runtime.database.now(session))

    with pytest.raises(DeviceLostError):
        render(runtime, RenderChunk(chunk_id=chunk_id, batch_id=batch_id))

    assert states(runtime, batch_id) == [JobState.DONE] * 2 + [JobState.LEASED] * 4
    with runtime.database.write() as session:
        release_worker(session, runtime.worker_id, runtime.database.now(session), 4)
    with runtime.database.read() as session:
        jobs = jobs_of(session, batch_id)
    assert [job.state for job in jobs] == [JobState.DONE] * 2 + [JobState.PENDING] * 4
    assert [job.attempts for job in jobs] == [1, 1, 1, 0, 0, 0]


def test_a_bad_job_costs_its_neighbours_nothing_but_time(start: Start) -> None:
    runtime = start(images_per_pass=8)
    batch_id = draw(runtime, prompts={3: FAIL})

    with runtime.database.read() as session:
        jobs, entries = jobs_of(session, batch_id), ledger_of(session, batch_id)
    assert [job.state for job in jobs] == [
        JobState.FAILED if job.position == 3 else JobState.DONE for job in jobs
    ]
    assert [job.attempts for job in jobs] == [1] * 8
    assert sum(entry.kind == "render" for entry in entries) == 7
    assert sum(entry.kind == "failed_attempt" for entry in entries) == 1


def test_a_fault_that_goes_away_is_gone_when_the_jobs_are_drawn_one_by_one(start: Start) -> None:
    """The warm-up was the first pass, so that the second is the first that may not fail."""
    runtime = start(images_per_pass=4)
    batch_id = draw(runtime, jobs=4, prompts={0: FAIL_ONCE_IN_TWO})
    assert states(runtime, batch_id) == [JobState.DONE] * 4


def test_a_store_that_is_away_for_a_moment_costs_no_attempt(start: Start, tmp_path: Path) -> None:
    runtime = start(outage_patience_seconds=30)
    objects = tmp_path / "objects"
    objects.mkdir(exist_ok=True)
    objects.rename(tmp_path / "away")
    objects.write_text("a file where a folder should be", "utf-8")

    with capture_logs() as logs:

        def come_back() -> None:
            while all(entry["event"] != "service_away" for entry in logs):
                time.sleep(0.01)
            objects.unlink()
            (tmp_path / "away").rename(objects)

        thread = threading.Thread(target=come_back, daemon=True)
        thread.start()
        batch_id = draw(runtime, jobs=2)
        thread.join(10)

    assert not thread.is_alive(), "nobody missed the store"
    with runtime.database.read() as session:
        jobs = jobs_of(session, batch_id)
    assert [(job.state, job.attempts) for job in jobs] == [(JobState.DONE, 1)] * 2


def test_what_a_simulated_device_leaves_says_so(start: Start) -> None:
    runtime = start()
    batch_id = draw(runtime, jobs=1)
    with runtime.database.read() as session:
        [attempt] = attempts_of(session, batch_id)
    assert attempt.device_kind == "simulated"
    assert attempt.device_name == "simulated device"
    assert attempt.record is not None
    assert attempt.record["backend"] == "simulated"
    assert "no model ran" in attempt.record["note"]
