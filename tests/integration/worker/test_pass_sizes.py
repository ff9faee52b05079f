"""How many images a worker draws at once: by what was measured, learned, or ordered."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from shared.db.cost_tables import PassRate
from shared.db.pass_rates import record_passes
from shared.db.tables import Fit
from shared.domain.jobs import JobState
from shared.domain.pass_rates import MeasuredPasses, PassSize
from shared.domain.prompts import ImageSettings
from shared.domain.rates import Shape
from shared.messaging.contracts import RenderChunk
from support.factories import add_batch, dispatch, jobs_of
from support.worker import render
from worker.backends.base import BackendRecord
from worker.drawing import Drawing, Draws
from worker.runtime import Runtime

Start = Callable[..., Runtime]
SHAPE = Shape(64, 64, 10, is_guided=True)


@pytest.fixture
def start(start: Start) -> Start:
    """Start workers on simulated devices whose passes take a while, whatever is in them."""
    return partial(start, simulated_pass_seconds=0.005)


def draw(runtime: Runtime, *, jobs: int = 8, images_per_pass: int | None = None) -> UUID:
    with runtime.database.write() as session:
        batch = add_batch(session, jobs=jobs, model=runtime.model.name)
        batch.images_per_pass = images_per_pass
        batch_id = batch.id
        chunk_id = dispatch(session, batch_id, now=runtime.database.now(session))
    render(runtime, RenderChunk(chunk_id=chunk_id, batch_id=batch_id))
    return batch_id


def drawn_at_once(runtime: Runtime, images: int) -> dict[int, int]:
    """Return how many passes a worker wrote down by their images, once it has so many of them."""
    deadline = time.monotonic() + 20
    while True:
        with runtime.database.read() as session:
            rows = session.execute(
                select(PassRate.images, PassRate.passes).where(
                    PassRate.worker_id == runtime.worker_id
                )
            )
            passes = {size: count for size, count in rows if count}
        if sum(size * count for size, count in passes.items()) >= images:
            return passes
        assert time.monotonic() < deadline, passes
        time.sleep(0.05)


def test_a_whole_chunk_is_drawn_at_once_until_somebody_measures(start: Start) -> None:
    worker = start()
    draw(worker, jobs=11)

    assert drawn_at_once(worker, 11) == {8: 1, 3: 1}


def test_as_many_are_drawn_at_once_as_the_books_say_are_best(start: Start) -> None:
    other, worker = start(), start()
    with other.database.write() as session:
        passes = {
            PassSize(SHAPE, images): MeasuredPasses.of(images, images * ns, 0)
            for images, ns in {1: 100, 2: 90, 8: 90}.items()
        }
        now = other.database.now(session)
        record_passes(session, other.worker_id, other.model.name, passes, now)

    draw(worker)

    assert drawn_at_once(worker, 8) == {2: 4}


def test_a_calibration_says_how_many_are_drawn_at_once(start: Start) -> None:
    worker = start(images_per_pass=8)
    draw(worker, images_per_pass=4)

    assert drawn_at_once(worker, 8) == {4: 2}


def test_a_worker_learns_of_what_others_ran_out_of_memory_at_while_it_runs(start: Start) -> None:
    worker = start(simulated_images=3)
    other = start(simulated_images=3)
    draw(worker, jobs=1)
    draw(other)

    draw(worker)

    assert drawn_at_once(worker, 9) == {1: 1, 2: 4}


class Compiled:
    """A pipeline that was compiled for other sizes than it is asked for."""

    compiled_sizes = ((128, 128),)

    def __init__(self, pipeline: Draws[Any]) -> None:
        self._pipeline = pipeline

    def prepare(self, jobs: Sequence[ImageSettings]) -> Any:
        return self._pipeline.prepare(jobs)

    def draw_prepared(self, prepared: Any, *, check_safety: bool = True) -> list[Drawing]:
        return self._pipeline.draw_prepared(prepared, check_safety=check_safety)

    def describe(self) -> BackendRecord:
        return self._pipeline.describe()


def test_jobs_of_a_size_that_was_not_compiled_go_back_to_the_dispatcher(start: Start) -> None:
    """They were sent before the worker came, to others that drew any size."""
    worker = start()
    worker.model.in_memory = Compiled(worker.pipeline)
    batch_id = draw(worker)

    with worker.database.read() as session:
        jobs = jobs_of(session, batch_id)
    assert [(job.state, job.chunk_id, job.attempts) for job in jobs] == [
        (JobState.PENDING, None, 0)
    ] * 8


def test_an_old_lesson_is_tried_again_and_grows(start: Start) -> None:
    worker = start(simulated_images=5)
    with worker.database.write() as session:
        long_ago = worker.database.now(session) - timedelta(days=2)
        session.add(
            Fit(
                model="emoji-64",
                device_name=worker.drawn_by.device_name,
                width=64,
                height=64,
                images=2,
                learned_at=long_ago,
            )
        )

    draw(worker)
    assert drawn_at_once(worker, 8) == {4: 2}
    draw(worker)

    assert drawn_at_once(worker, 16) == {4: 4}
    with worker.database.read() as session:
        lesson = session.scalars(select(Fit)).one()
    assert lesson.images == 4
    assert lesson.learned_at is not None
    assert lesson.learned_at > long_ago
