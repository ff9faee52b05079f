"""A device is not kept waiting: one chunk is made ready, and another stored, while it draws."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from producer.control import cancel
from producer.reconcile.proof import prove
from shared.db.engine import Database
from shared.db.tables import Batch, Worker
from shared.domain.identifiers import new_id
from shared.domain.jobs import JobState
from shared.domain.prompts import ImageSettings
from shared.messaging.contracts import RenderChunk
from shared.settings import Settings
from shared.storage.base import IMAGES
from support.commands import wait_until
from support.factories import add_batch, dispatch, jobs_of
from support.worker import render, start_worker
from worker.backends.base import BackendRecord
from worker.drawing import Drawing, Draws
from worker.outbox import IMAGES_A_DEVICE
from worker.process import WorkerProcess
from worker.runtime import Runtime
from worker.slow_store import SlowStore

WAITS_SECONDS = 30
DONE, LEASED = JobState.DONE, JobState.LEASED


class Gate:
    """Holds up what passes while it is closed."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def pass_through(self) -> None:
        assert self._open.wait(WAITS_SECONDS), "nobody opened it"


class GatedStore(SlowStore):
    """Stores no image while its gate is closed."""

    def __init__(self, store: Any, gate: Gate) -> None:
        super().__init__(store, 0)
        self._gate = gate

    def put(self, key: str, data: bytes, content_type: str) -> None:
        if key.startswith(IMAGES):
            self._gate.pass_through()
        super().put(key, data, content_type)


class GatedDevice:
    """Draws nothing while its gate is closed, and tells what it was given."""

    def __init__(self, pipeline: Draws[Any], gate: Gate) -> None:
        self._pipeline = pipeline
        self._gate = gate
        self.prepared: list[str] = []
        self.begun: list[str] = []
        self.inside = 0
        self.most_inside = 0

    def prepare(self, jobs: Sequence[ImageSettings]) -> Sequence[ImageSettings]:
        self.prepared += [job.prompt for job in jobs]
        ready: Sequence[ImageSettings] = self._pipeline.prepare(jobs)
        return ready

    def draw_prepared(
        self, prepared: Sequence[ImageSettings], *, check_safety: bool = True
    ) -> list[Drawing]:
        self.inside += 1
        self.most_inside = max(self.inside, self.most_inside)
        self.begun += [job.prompt for job in prepared]
        self._gate.pass_through()
        drawings = self._pipeline.draw_prepared(prepared, check_safety=check_safety)
        self.inside -= 1
        return drawings

    @property
    def compiled_sizes(self) -> None:
        """It draws any size."""

    def describe(self) -> BackendRecord:
        return self._pipeline.describe()


@dataclass
class Bench:
    """A worker on a simulated device; its device and its store can be held up."""

    process: WorkerProcess
    threads: ThreadPoolExecutor
    device_gate: Gate = field(default_factory=Gate)
    store_gate: Gate = field(default_factory=Gate)

    def __post_init__(self) -> None:
        [runtime] = self.process.runtimes
        self.device = GatedDevice(runtime.pipeline, self.device_gate)
        runtime.model.in_memory = self.device
        store = GatedStore(runtime.store, self.store_gate)
        self.runtime: Runtime = replace(runtime, store=store)

    def submit(self, *, jobs: int, chunks: int) -> tuple[UUID, Sequence[RenderChunk]]:
        """Put a batch in the queue, in chunks of equal size."""
        database = self.runtime.database
        with database.write() as session:
            now, model = database.now(session), self.runtime.model.name
            batch_id = add_batch(session, jobs=jobs, created_at=now, model=model).id
            size = jobs // chunks
            ids = [
                dispatch(session, batch_id, jobs=size, now=database.now(session))
                for _ in range(chunks)
            ]
        return batch_id, [RenderChunk(chunk_id=each, batch_id=batch_id) for each in ids]

    def begin(self, message: RenderChunk) -> Future[None]:
        """Have a chunk drawn in a thread, as Celery does."""
        return self.threads.submit(render, self.runtime, message)

    def states(self, batch_id: UUID) -> list[str]:
        with self.runtime.database.read() as session:
            return [job.state for job in jobs_of(session, batch_id)]

    def attempts(self, batch_id: UUID) -> list[int]:
        with self.runtime.database.read() as session:
            return [job.attempts for job in jobs_of(session, batch_id)]


@pytest.fixture
def bench(tmp_path: Path, sqlite_database: Database) -> Iterator[Bench]:
    settings = Settings(
        data_dir=tmp_path,
        device="simulated:0",
        simulated_image_seconds=0.001,
        images_per_pass=2,
        heartbeat_seconds=0.1,
    )
    with ThreadPoolExecutor(3) as threads:
        found = Bench(start_worker(settings, new_id()), threads)
        yield found
        found.device_gate.open()
        found.store_gate.open()
    found.process.stop()


def test_a_chunk_is_claimed_and_made_ready_while_the_one_before_is_drawn(bench: Bench) -> None:
    batch_id, (first, second) = bench.submit(jobs=4, chunks=2)
    bench.device_gate.close()
    bench.begin(first)
    wait_until(lambda: bench.device.begun == ["prompt 0", "prompt 1"])
    bench.begin(second)
    wait_until(lambda: bench.device.prepared[2:] == ["prompt 2", "prompt 3"])

    assert bench.states(batch_id) == [LEASED] * 4
    assert bench.device.inside == 1
    bench.device_gate.open()
    wait_until(lambda: bench.states(batch_id) == [DONE] * 4)
    assert bench.device.begun == [f"prompt {n}" for n in range(4)]
    assert bench.device.most_inside == 1


def test_a_pass_is_made_ready_while_the_one_before_is_drawn(bench: Bench) -> None:
    batch_id, [only] = bench.submit(jobs=4, chunks=1)
    bench.device_gate.close()
    bench.begin(only)
    wait_until(lambda: bench.device.prepared[2:] == ["prompt 2", "prompt 3"])

    assert bench.device.begun == ["prompt 0", "prompt 1"]
    bench.device_gate.open()
    wait_until(lambda: bench.states(batch_id) == [DONE] * 4)


def test_images_are_stored_while_the_next_chunk_is_drawn(bench: Bench) -> None:
    """The store takes nothing before the next chunk is in the device."""
    batch_id, (first, second) = bench.submit(jobs=4, chunks=2)
    bench.store_gate.close()
    bench.begin(first)
    wait_until(lambda: bench.runtime.in_hand.images_drawn == 2)
    bench.device_gate.close()
    bench.begin(second)
    wait_until(lambda: bench.device.begun[2:] == ["prompt 2", "prompt 3"])
    assert bench.states(batch_id) == [LEASED] * 4
    bench.store_gate.open()

    wait_until(lambda: bench.states(batch_id) == [DONE, DONE, LEASED, LEASED])
    assert bench.device.inside == 1
    bench.device_gate.open()
    wait_until(lambda: bench.states(batch_id) == [DONE] * 4)


def test_a_device_waits_for_a_store_that_hangs_and_goes_on_when_it_is_back(bench: Bench) -> None:
    jobs = 3 * IMAGES_A_DEVICE
    batch_id, [only] = bench.submit(jobs=jobs, chunks=1)
    bench.store_gate.close()
    bench.begin(only)
    wait_until(lambda: bench.runtime.outbox.on_their_way == IMAGES_A_DEVICE)
    time.sleep(0.1)  # in which it would draw fifty more

    assert len(bench.device.begun) <= IMAGES_A_DEVICE + bench.runtime.settings.images_per_pass
    assert bench.states(batch_id) == [LEASED] * jobs
    bench.store_gate.open()
    wait_until(lambda: bench.states(batch_id) == [DONE] * jobs)
    assert bench.attempts(batch_id) == [1] * jobs


def test_leases_of_images_that_wait_for_the_store_are_renewed(bench: Bench) -> None:
    batch_id, [only] = bench.submit(jobs=2, chunks=1)
    bench.store_gate.close()
    bench.begin(only)
    wait_until(lambda: bench.runtime.in_hand.images_drawn == 2)
    wait_until(lambda: bench.runtime.turns.taken == 0)

    def expires() -> list[Any]:
        with bench.runtime.database.read() as session:
            return [job.lease_expires_at for job in jobs_of(session, batch_id)]

    before = expires()
    wait_until(lambda: all(now > then for now, then in zip(expires(), before, strict=True)))
    bench.store_gate.open()
    wait_until(lambda: bench.states(batch_id) == [DONE] * 2)


def test_a_device_that_is_never_idle_has_its_idle_time_booked_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.chunk.SETTLED_EVERY", timedelta(0))
    database = bench.runtime.database
    batch_id, (first, second) = bench.submit(jobs=4, chunks=2)
    bench.device_gate.close()
    bench.begin(first)
    wait_until(lambda: len(bench.device.begun) == 2)
    settled = settled_until(bench)
    bench.begin(second)
    wait_until(lambda: len(bench.device.prepared) == 4)
    bench.device_gate.open()
    wait_until(lambda: bench.states(batch_id) == [DONE] * 4)

    assert settled_until(bench) > settled, "while it held the second chunk"
    with database.read() as session:
        assert prove(session).holds


def test_a_chunk_is_in_the_device_even_if_its_first_jobs_were_called_off(bench: Bench) -> None:
    """Else what is drawn then would never be to blame for a lost worker."""
    batch_id, [only] = bench.submit(jobs=4, chunks=1)
    database = bench.runtime.database
    bench.device_gate.close()
    with bench.runtime.turns.place():
        bench.begin(only)
        wait_until(lambda: bench.device.prepared == ["prompt 0", "prompt 1"])
        with database.write() as session:
            batch = session.get_one(Batch, batch_id)
            assert cancel(session, batch, ["0", "1"], database.now(session)) == 2
    wait_until(lambda: bench.device.begun == ["prompt 2", "prompt 3"])

    with database.read() as session:
        worker = session.get_one(Worker, bench.runtime.worker_id)
    assert worker.drawing_chunk_id == only.chunk_id
    bench.device_gate.open()
    wait_until(lambda: bench.states(batch_id)[2:] == [DONE] * 2)


def settled_until(bench: Bench) -> Any:
    with bench.runtime.database.read() as session:
        return session.get_one(Worker, bench.runtime.worker_id).settled_until
