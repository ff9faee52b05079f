"""A real worker that is drained in the middle of a batch: nothing is lost, nothing is taken."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr

from producer.dispatch import Dispatcher, DispatcherThread
from producer.local_fleet import LocalFleet
from producer.reconcile.proof import complete_the_books, prove
from producer.status import read_status
from producer.workers import drain_worker, resume_worker
from shared.db.batches import count_jobs
from shared.db.engine import Database
from shared.db.tables import Worker
from shared.domain.jobs import JobState
from shared.messaging.broker import Broker
from shared.messaging.contracts import queue_name
from shared.settings import Settings
from support.commands import wait_until
from support.factories import add_batch, attempts_of

JOBS = 60
MODEL = "emoji-64"
QUEUE = queue_name("simulated", MODEL)
IMAGE_SECONDS = 0.1
LET_GO_SECONDS = 2
"""After so long the worker has put back what it was given in the meantime."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A dispatcher and one worker that draws a batch."""

    settings: Settings
    database: Database
    broker: Broker
    fleet: LocalFleet
    batch_id: UUID

    @property
    def counts(self) -> dict[JobState, int]:
        with self.database.read() as session:
            return dict(count_jobs(session, self.batch_id))

    @property
    def worker_id(self) -> UUID:
        [worker_id] = self.fleet.worker_ids
        return worker_id

    def worker(self) -> Worker:
        with self.database.read() as session:
            return session.get_one(Worker, self.worker_id)

    def drain(self) -> None:
        drain_worker(self.database, self.settings, self.worker_id)

    def resume(self) -> None:
        resume_worker(self.database, self.settings, self.worker_id)

    def assert_all_was_drawn_once(self) -> None:
        with self.database.read() as session:
            attempts = attempts_of(session, self.batch_id)
        done = [attempt.job_id for attempt in attempts if attempt.outcome == "done"]
        assert len(done) == len(set(done)) == JOBS

    def assert_the_books_add_up(self) -> None:
        complete_the_books(self.database)
        with self.database.snapshot() as session:
            assert prove(session).holds


@pytest.fixture
def scene(sqlite_database: Database, redis_url: str, tmp_path: Path) -> Iterator[Scene]:
    settings = Settings(
        data_dir=tmp_path,
        redis_url=SecretStr(redis_url),
        device="simulated:0",
        simulated_image_seconds=IMAGE_SECONDS,
        chunk_size=4,
        look_ahead=2,
        heartbeat_seconds=0.5,
        lease_seconds=2,
    )
    with sqlite_database.write() as session:
        batch = add_batch(session, jobs=JOBS, created_at=sqlite_database.now(session))
        batch.model = MODEL
        batch_id = batch.id
    broker = Broker(settings)
    fleet = LocalFleet(settings, sqlite_database, 1)
    scene = Scene(settings, sqlite_database, broker, fleet, batch_id)
    with _running(scene):
        wait_until(lambda: scene.counts[JobState.DONE] >= 3, seconds=60)
        yield scene
    broker.close()


@contextmanager
def _running(scene: Scene) -> Iterator[None]:
    dispatcher = DispatcherThread(
        Dispatcher(scene.database, scene.broker, scene.settings),
        scene.broker,
        scene.settings.dispatch_seconds,
    )
    dispatcher.start()
    try:
        scene.fleet.start()
        yield
    finally:
        dispatcher.stop()
        scene.fleet.stop()


def wait_for_heartbeats(scene: Scene, seconds: float) -> None:
    """Wait until a worker that lives on has said so for as long."""
    until = scene.worker().heartbeat_at + timedelta(seconds=seconds)
    wait_until(lambda: scene.worker().heartbeat_at > until, seconds=30)


def test_a_drained_worker_takes_nothing_until_it_is_resumed(scene: Scene) -> None:
    scene.drain()
    wait_until(lambda: not scene.counts[JobState.LEASED], seconds=20)
    scene.drain()
    drawn = scene.counts[JobState.DONE]
    wait_for_heartbeats(scene, LET_GO_SECONDS)
    waiting = scene.broker.waiting_chunks(QUEUE)
    wait_for_heartbeats(scene, 2 * scene.settings.lease_seconds)

    assert waiting
    assert scene.broker.waiting_chunks(QUEUE) == waiting
    counts = scene.counts
    assert counts[JobState.DONE] == drawn < JOBS
    assert counts[JobState.PENDING] == JOBS - drawn
    status = read_status(scene.database, scene.settings, scene.batch_id)
    assert status.why_idle is not None
    assert "is drained" in status.why_idle

    scene.resume()
    wait_until(lambda: scene.counts[JobState.DONE] == JOBS, seconds=60)
    scene.assert_all_was_drawn_once()
    scene.fleet.stop()
    scene.assert_the_books_add_up()


def test_a_drained_worker_that_is_killed_is_followed_by_one_that_takes_jobs(scene: Scene) -> None:
    scene.drain()
    killed = scene.worker()
    os.kill(killed.pid, signal.SIGKILL)

    def is_drawn() -> bool:
        scene.fleet.supervise()
        return scene.counts[JobState.DONE] == JOBS

    wait_until(is_drawn, seconds=90)
    assert scene.worker_id != killed.id
    scene.assert_all_was_drawn_once()
    scene.fleet.stop()
    scene.assert_the_books_add_up()
