"""One worker, several models: each draws its own batches, and those in memory are bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from producer.reconcile.proof import complete_the_books, prove
from shared.db.cost_tables import LedgerEntry
from shared.db.engine import Database
from shared.db.fleet import note_stopping
from shared.db.model_tables import WorkerModel
from shared.db.rates import read_rates
from shared.db.tables import Worker
from shared.domain.identifiers import new_id
from shared.domain.jobs import JobState, LedgerKind
from shared.domain.prompts import ImageSettings
from shared.domain.rates import DeviceRate
from shared.messaging.contracts import RenderChunk
from shared.settings import Settings
from support.commands import wait_until
from support.factories import add_batch, add_price, attempts_of, dispatch, jobs_of
from support.tiny_model import write_tiny_model
from support.worker import render, start_worker
from worker.chunk import render_chunk
from worker.drawing import Drawing
from worker.models.weights import hash_weights
from worker.process import WorkerProcess
from worker.runtime import Runtime

FIRST, SECOND = "tiny", "other"

Start = Callable[..., Runtime]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return (
        write_tiny_model(folder / FIRST),
        write_tiny_model(folder / SECOND, name=SECOND, seed=1),
    )


@pytest.fixture
def start(folders: tuple[Path, Path], tmp_path: Path, sqlite_database: Database) -> Iterator[Start]:
    """Start a worker that serves both models; it is stopped when the test ends."""
    started: list[WorkerProcess] = []
    with sqlite_database.write() as session:
        add_price(session)

    def run(**settings: Any) -> Runtime:
        chosen = Settings(
            data_dir=tmp_path,
            model=str(folders[0]),
            also_models=(str(folders[1]),),
            cpu_threads=1,
            heartbeat_seconds=0.1,
            **settings,
        )
        started.append(start_worker(chosen, new_id()))
        return started[-1].runtimes[0]

    yield run
    for process in started:
        process.stop()


def send(runtime: Runtime, model: str, *, jobs: int = 2) -> RenderChunk:
    with runtime.database.write() as session:
        now = runtime.database.now(session)
        batch_id = add_batch(session, jobs=jobs, created_at=now, model=model).id
        chunk_id = dispatch(session, batch_id, now=now)
    return RenderChunk(chunk_id=chunk_id, batch_id=batch_id)


def draw(runtime: Runtime, model: str, *, jobs: int = 2) -> UUID:
    message = send(runtime, model, jobs=jobs)
    render(runtime, message)
    return message.batch_id


def states(runtime: Runtime, batch_id: UUID) -> Sequence[str]:
    with runtime.database.read() as session:
        return [job.state for job in jobs_of(session, batch_id)]


def loads(runtime: Runtime) -> Sequence[UUID | None]:
    """Return the batches that loads were booked to, in order."""
    with runtime.database.read() as session:
        booked = select(LedgerEntry.batch_id).where(LedgerEntry.kind == LedgerKind.MODEL_LOAD)
        return session.scalars(booked.order_by(LedgerEntry.id)).all()


def told_in_memory(runtime: Runtime) -> set[str]:
    """Return what the database says is in the worker's memory."""
    with runtime.database.read() as session:
        rows = session.scalars(select(WorkerModel).where(WorkerModel.loaded_at.is_not(None)))
        return {row.model for row in rows}


def assert_books_balance(database: Database) -> None:
    complete_the_books(database)
    with database.snapshot() as session:
        proof = prove(session)
    assert proof.holds, proof.to_json()


def test_each_model_draws_its_own_batches_by_its_own_weights(
    start: Start, folders: tuple[Path, Path]
) -> None:
    runtime = start()
    assert told_in_memory(runtime) == {FIRST}, "the other is loaded when somebody asks for it"

    batches = [draw(runtime, FIRST), draw(runtime, SECOND), draw(runtime, FIRST)]

    with runtime.database.read() as session:
        records = [
            {(attempt.record or {})["model"]: (attempt.record or {})["weights_sha256"]}
            for batch_id in batches
            for attempt in attempts_of(session, batch_id)
        ]
        drawn = [{job.image_sha256 for job in jobs_of(session, batch)} for batch in batches]
        worker = session.get_one(Worker, runtime.worker_id)
        queues = set(session.scalars(select(WorkerModel.queue)))
    first, second = (hash_weights(folder) for folder in folders)
    assert records == [{FIRST: first}] * 2 + [{SECOND: second}] * 2 + [{FIRST: first}] * 2
    assert drawn[0] == drawn[2]
    assert not drawn[0] & drawn[1]
    assert (worker.model, worker.queue) == (FIRST, "cpu.tiny")
    assert queues == {"cpu.tiny", "cpu.other"}
    assert told_in_memory(runtime) == {FIRST, SECOND}
    assert loads(runtime) == batches[:2], "who caused a load pays for it"


def test_rates_are_those_of_the_model(start: Start, sqlite_database: Database) -> None:
    runtime = start()
    draw(runtime, FIRST, jobs=1)
    draw(runtime, SECOND, jobs=3)

    def rates(model: str) -> Sequence[DeviceRate]:
        with sqlite_database.read() as session:
            return read_rates(session, model)

    wait_until(lambda: bool(rates(FIRST) and rates(SECOND)))
    found = {model: rates(model) for model in (FIRST, SECOND)}
    with sqlite_database.read() as session:
        rows = session.scalars(select(WorkerModel)).all()
    assert {model: [rate.images for rate in rates] for model, rates in found.items()} == {
        FIRST: [1],
        SECOND: [3],
    }
    assert {row.model: row.load_ns for row in rows} == {
        model: rates[0].load_ns for model, rates in found.items()
    }


def test_one_that_does_not_fit_beside_the_others_has_them_make_way(
    start: Start, sqlite_database: Database
) -> None:
    runtime = start(model_memory_bytes=1)
    batches = []
    for model in (FIRST, SECOND, SECOND, FIRST):
        batches.append(draw(runtime, model))
        assert list(runtime.models.in_memory) == [model]
        assert told_in_memory(runtime) == {model}
        assert states(runtime, batches[-1]) == [JobState.DONE] * 2

    assert loads(runtime) == [batches[0], batches[1], batches[3]]
    assert_books_balance(sqlite_database)


def test_a_chunk_that_was_ready_is_made_ready_again_when_its_model_had_to_make_way(
    start: Start, sqlite_database: Database
) -> None:
    runtime = start(model_memory_bytes=1)
    messages = [send(runtime, model) for model in (FIRST, SECOND, FIRST, SECOND, FIRST)]
    with ThreadPoolExecutor(len(messages)) as threads:
        list(threads.map(lambda message: render(runtime, message), messages))

    assert [states(runtime, message.batch_id) for message in messages] == [[JobState.DONE] * 2] * 5
    with runtime.database.read() as session:
        for message, model in zip(messages, (FIRST, SECOND) * 3, strict=False):
            attempts = attempts_of(session, message.batch_id)
            assert {(attempt.record or {})["model"] for attempt in attempts} == {model}
    assert_books_balance(sqlite_database)


def test_other_models_make_way_before_fewer_images_are_drawn_at_once(start: Start) -> None:
    runtime = start(images_per_pass=4)
    draw(runtime, SECOND)
    pipeline = runtime.pipeline

    class NoRoomForTwoModels:
        """Has room for images only while no other model is in memory."""

        compiled_sizes = None

        def prepare(self, jobs: Sequence[ImageSettings]) -> Any:
            return pipeline.prepare(jobs)

        def draw_prepared(self, prepared: Any, *, check_safety: bool = True) -> list[Drawing]:
            if len(runtime.models.in_memory) > 1:
                raise MemoryError("two models and these images do not fit")
            return pipeline.draw_prepared(prepared, check_safety=check_safety)

        def describe(self) -> Any:
            return pipeline.describe()

    runtime.model.in_memory = NoRoomForTwoModels()
    batch_id = draw(runtime, FIRST, jobs=4)

    assert states(runtime, batch_id) == [JobState.DONE] * 4
    assert runtime.fits == {}, "it was not the images' fault"
    assert told_in_memory(runtime) == {FIRST}


def test_a_model_that_does_not_load_fails_its_own_jobs_alone(
    start: Start, folders: tuple[Path, Path], sqlite_database: Database
) -> None:
    runtime = start()
    weights = next(folders[1].glob("vae/*.safetensors"))
    data = weights.read_bytes()
    weights.write_bytes(b"none")
    try:
        failed = draw(runtime, SECOND)
    finally:
        weights.write_bytes(data)
    drawn = draw(runtime, FIRST)

    with runtime.database.read() as session:
        [first, *_] = attempts_of(session, failed)
    assert (first.outcome, first.error_code) == ("failed", "unexpected")
    assert states(runtime, failed) == [JobState.PENDING] * 2, "they are tried again"
    assert states(runtime, drawn) == [JobState.DONE] * 2
    assert told_in_memory(runtime) == {FIRST}
    assert_books_balance(sqlite_database)


def test_nothing_is_loaded_for_jobs_that_go_back_anyway(start: Start) -> None:
    runtime = start()
    message = send(runtime, SECOND)

    def told_to_stop_meanwhile() -> None:
        with runtime.database.write() as session:
            note_stopping(session, runtime.worker_id, runtime.database.now(session))

    render_chunk(runtime, message, told_to_stop_meanwhile)

    assert states(runtime, message.batch_id) == [JobState.PENDING] * 2
    assert told_in_memory(runtime) == {FIRST}


def test_a_chunk_of_a_model_that_it_does_not_serve_goes_back(start: Start) -> None:
    runtime = start()
    batch_id = draw(runtime, "somebody else's")

    with runtime.database.read() as session:
        jobs = jobs_of(session, batch_id)
    assert [(job.state, job.chunk_id) for job in jobs] == [(JobState.PENDING, None)] * 2
