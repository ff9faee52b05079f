"""What a worker says of an image beside its pixels: cut prompts, the safety checker's word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from producer.pull import Puller
from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.tables import Batch, Job
from shared.domain.identifiers import new_id
from shared.domain.jobs import JobState
from shared.messaging.contracts import RenderChunk
from shared.settings import Settings
from support.factories import add_batch, add_price, attempts_of, dispatch, jobs_of, ledger_of
from support.families import write_family, write_safety_checker
from support.worker import render, start_worker
from worker.process import WorkerProcess
from worker.runtime import Runtime

Start = Callable[..., Runtime]


@pytest.fixture
def start(tmp_path: Path, sqlite_database: Database) -> Iterator[Start]:
    """Start a worker with a small SD 1.5, with a safety checker of a given temper or none."""
    started: list[WorkerProcess] = []
    with sqlite_database.write() as session:
        add_price(session)

    def run(*, checker: bool = True, flags_everything: bool = False) -> Runtime:
        folder = write_family("sd-1.5", tmp_path / "a model")
        if checker:
            write_safety_checker(folder, flags_everything=flags_everything)
        settings = Settings(data_dir=tmp_path, model=str(folder), cpu_threads=1)
        started.append(start_worker(settings, new_id()))
        return started[-1].runtimes[0]

    yield run
    for process in started:
        process.stop()


def draw(
    runtime: Runtime, *, prompt: str = "a pear", negative: str = "", checked: bool = True
) -> UUID:
    with runtime.database.write() as session:
        batch_id = add_batch(session, jobs=2, model=runtime.model.name).id
        session.execute(
            update(Job)
            .where(Job.batch_id == batch_id)
            .values(prompt=prompt, negative_prompt=negative, steps=2)
        )
        session.execute(update(Batch).values(safety_checker=checked))
        chunk_id = dispatch(session, batch_id, now=utc_now())
    render(runtime, RenderChunk(chunk_id=chunk_id, batch_id=batch_id))
    return batch_id


def manifest(runtime: Runtime, batch_id: UUID, folder: Path) -> list[dict[str, Any]]:
    import json

    pulled = Puller(runtime.database, runtime.store, batch_id, folder).finish()
    return [json.loads(line) for line in pulled.manifest.read_text("utf-8").splitlines()]


def test_a_flagged_image_is_not_published_and_says_why(start: Start, tmp_path: Path) -> None:
    runtime = start(flags_everything=True)
    batch_id = draw(runtime)

    with runtime.database.read() as session:
        jobs, entries = jobs_of(session, batch_id), ledger_of(session, batch_id)
    assert [job.state for job in jobs] == [JobState.FAILED] * 2
    assert [job.attempts for job in jobs] == [1, 1]  # it would be flagged again
    assert all(job.image_key is None for job in jobs)
    assert not list((tmp_path / "objects").rglob("*.png"))
    assert sum(entry.kind == "failed_attempt" for entry in entries) == 2
    for line in manifest(runtime, batch_id, tmp_path / "out"):
        assert line["safety_checker"] == "flagged"
        assert line["file"] is None
        assert line["error"]["code"] == "content_flagged"


def test_the_word_of_a_checker_that_has_nothing_to_say_against_it_is_kept(
    start: Start, tmp_path: Path
) -> None:
    runtime = start()
    batch_id = draw(runtime)

    lines = manifest(runtime, batch_id, tmp_path / "out")
    assert [line["safety_checker"] for line in lines] == ["passed"] * 2
    with runtime.database.read() as session:
        attempts = attempts_of(session, batch_id)
    # The second's text may be encoded while the first is drawn: then it takes no time of its own.
    assert any(attempt.text_encode_ns for attempt in attempts)
    for attempt in attempts:
        phases = (attempt.denoise_ns, attempt.decode_ns, attempt.safety_check_ns)
        assert all(phases)
        text_ns = attempt.text_encode_ns or 0
        assert attempt.device_ns == text_ns + sum(phase or 0 for phase in phases)


def test_a_batch_may_go_without_the_checker(start: Start, tmp_path: Path) -> None:
    runtime = start(flags_everything=True)
    batch_id = draw(runtime, checked=False)

    lines = manifest(runtime, batch_id, tmp_path / "out")
    assert [line["state"] for line in lines] == ["done"] * 2
    assert [line["safety_checker"] for line in lines] == [None] * 2


def test_a_model_without_a_checker_has_no_verdict(start: Start, tmp_path: Path) -> None:
    runtime = start(checker=False)
    batch_id = draw(runtime)

    assert [line["safety_checker"] for line in manifest(runtime, batch_id, tmp_path / "out")] == [
        None,
        None,
    ]


def test_a_prompt_that_is_cut_is_reported_with_what_was_lost(start: Start, tmp_path: Path) -> None:
    """This tokenizer takes a token a letter, so that 75 letters fit between the two marks."""
    runtime = start(checker=False)
    fits, lost = "a" * 75, "zebra"
    batch_id = draw(runtime, prompt=f"{fits}{lost}", negative="b" * 75)

    pulled = Puller(runtime.database, runtime.store, batch_id, tmp_path / "out").finish()
    assert pulled.cut == 2
    for line in manifest(runtime, batch_id, tmp_path / "out"):
        assert line["prompt"] == f"{fits}{lost}"
        assert line["prompt_lost"] == lost
        assert line["negative_prompt_lost"] is None


def test_the_manifest_names_the_licence_of_the_weights(start: Start, tmp_path: Path) -> None:
    runtime = start(checker=False)
    batch_id = draw(runtime)

    for line in manifest(runtime, batch_id, tmp_path / "out"):
        assert line["attempt"]["record"]["licence"] == "unknown"
