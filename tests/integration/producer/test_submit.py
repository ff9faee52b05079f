"""A batch is in the books whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import func, select

import producer.new_jobs
from producer.order import Order, RefusedError
from producer.prompt_files import PromptSource, open_prompts
from producer.prompt_lines import AcceptedLine, PromptLine
from producer.submit import submit
from shared.db.batches import count_jobs
from shared.db.engine import Database
from shared.db.tables import Batch, Job
from shared.domain.jobs import JobState
from shared.domain.prompts import PromptRequest
from shared.errors import InputError
from shared.settings import Settings
from support.prompts import CARD, submit_text


def all_jobs(database: Database) -> Sequence[Job]:
    with database.read() as session:
        return session.scalars(select(Job).order_by(Job.position)).all()


def rows_in(database: Database) -> tuple[int, int]:
    with database.read() as session:
        batches = session.scalar(select(func.count()).select_from(Batch)) or 0
        jobs = session.scalar(select(func.count()).select_from(Job)) or 0
    return batches, jobs


def test_every_image_of_every_line_is_a_job_in_order(database: Database, tmp_path: Path) -> None:
    text = (
        '{"prompt": "a", "n": 2, "custom_id": "x", "sku": 5}\n\n'
        '{"prompt": "b", "seed": 40, "n": 2}\n{"prompt": "c", "steps": 20}\n'
    )
    submission = submit_text(database, tmp_path, text, name="p.jsonl", seed=10)
    jobs = all_jobs(database)

    assert submission.total == len(jobs) == 5
    assert [(job.position, job.source_line, job.prompt, job.seed) for job in jobs] == [
        (0, 1, "a", 10),
        (1, 1, "a", 11),
        (2, 3, "b", 40),
        (3, 3, "b", 41),
        (4, 4, "c", 14),
    ]
    assert [job.custom_id for job in jobs] == ["x", "x", None, None, None]
    assert jobs[0].details == {"sku": 5}
    assert [(job.steps, job.squeeze) for job in jobs[3:]] == [(16, "10,6"), (20, None)]
    assert (jobs[0].width, jobs[0].height, jobs[0].guidance_scale) == (64, 48, 4.0)


def test_a_batch_remembers_its_source_and_its_order(database: Database, tmp_path: Path) -> None:
    order = Order(name="monday", priority=7, client={"out": "/pictures"})
    submission = submit_text(database, tmp_path, "a\nb\n", order=order)

    with database.read() as session:
        batch = session.get_one(Batch, submission.batch_id)
    assert (batch.name, batch.priority, batch.model, batch.total) == ("monday", 7, "tiny", 2)
    assert batch.client["source"] == str(tmp_path / "prompts.txt")
    assert batch.client["out"] == "/pictures"


def test_jobs_of_a_new_batch_are_all_pending_and_add_up(database: Database, tmp_path: Path) -> None:
    submission = submit_text(database, tmp_path, "a\n" * 2_501)

    with database.read() as session:
        counts = count_jobs(session, submission.batch_id)
    assert counts[JobState.PENDING] == sum(counts.values()) == submission.total == 2_501


def test_the_bad_lines_of_a_file_are_all_kept_and_the_good_ones_submitted(
    sqlite_database: Database, tmp_path: Path
) -> None:
    text = '{"prompt": "a"}\n' + '{"prompt": "b", "squeeze": "1,2"}\n' * 30
    submission = submit_text(sqlite_database, tmp_path, text, name="p.jsonl")
    rejects = submission.rejects

    assert submission.total == 1
    assert (rejects.count, len(rejects.first)) == (30, 20)
    assert rejects.path == tmp_path / "data" / "rejects" / f"{submission.batch_id}.jsonl"
    listed = [json.loads(line) for line in rejects.path.read_text("utf-8").splitlines()]
    assert [line["line_number"] for line in listed] == list(range(2, 32))
    assert listed[0]["reason"] == "squeeze n,i needs n > i > 0, not '1,2'"
    assert json.loads(listed[0]["raw"]) == {"prompt": "b", "squeeze": "1,2"}


def test_a_file_of_nothing_but_bad_lines_writes_no_batch(
    sqlite_database: Database, tmp_path: Path
) -> None:
    with pytest.raises(RefusedError) as refused:
        submit_text(sqlite_database, tmp_path, '{"prompt": 1}\n[]\n', name="p.jsonl")

    assert [line.line_number for line in refused.value.rejects.first] == [1, 2]
    assert refused.value.exit_code == 2
    assert rows_in(sqlite_database) == (0, 0)


def test_a_source_that_fails_half_way_leaves_nothing(database: Database, tmp_path: Path) -> None:
    def lines() -> Iterator[PromptLine]:
        for number in range(1, 2_000):
            yield AcceptedLine(number, PromptRequest(prompt="a"))
        raise InputError("the disk is gone")

    with pytest.raises(InputError, match="the disk is gone"):
        submit(database, Settings(data_dir=tmp_path), CARD, PromptSource("p", lines()))

    assert rows_in(database) == (0, 0)


def test_a_batch_of_too_many_images_leaves_nothing(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer.new_jobs, "MAX_JOBS_A_BATCH", 5)

    with pytest.raises(InputError, match=r"p\.jsonl:2: a batch holds at most 5 images"):
        submit_text(sqlite_database, tmp_path, '[]\n{"prompt": "a", "n": 6}\n', name="p.jsonl")

    assert rows_in(sqlite_database) == (0, 0)
    assert not list((tmp_path / "data" / "rejects").iterdir())


def test_defaults_that_do_not_fit_the_model_are_refused_before_a_line_is_read(
    sqlite_database: Database, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="keeps 20 of only 16 steps"):
        submit_text(sqlite_database, tmp_path, "a\n", squeeze="30,20")

    assert rows_in(sqlite_database) == (0, 0)


def test_only_an_operator_may_switch_the_safety_checker_off(
    sqlite_database: Database, tmp_path: Path
) -> None:
    order = Order(safety_checker=False)
    with pytest.raises(InputError, match="only an operator"):
        submit_text(sqlite_database, tmp_path, "a dog\n", order=order)
    with sqlite_database.read() as session:
        assert session.scalar(select(func.count()).select_from(Batch)) == 0

    allowed = Settings(data_dir=tmp_path / "data", unchecked_batches=True)
    path = tmp_path / "prompts.txt"
    with open_prompts(str(path)) as source:
        submission = submit(sqlite_database, allowed, CARD, source, order)
    with sqlite_database.read() as session:
        assert not session.get_one(Batch, submission.batch_id).safety_checker
