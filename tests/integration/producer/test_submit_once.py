"""The same submission twice, cut off, at the same time, or called off meanwhile: one batch."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select

from producer.order import Order, RefusedError, Submission, content_key
from producer.prompt_files import PromptSource, open_prompts
from producer.prompt_lines import AcceptedLine, PromptLine
from producer.settle import BatchDefaults
from producer.status import read_status
from producer.submit import ConflictError, OnProgress, spread, submit
from shared.db.batches import cancel_batch, count_jobs
from shared.db.engine import Database
from shared.db.tables import Batch, Job
from shared.domain.jobs import JobState
from shared.domain.prompts import PromptRequest
from shared.errors import InputError
from shared.settings import Settings
from support.prompts import CARD

LINES = 1_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"prompt {number}\n" for number in range(LINES)), "utf-8")
    return path


def submit_file(
    database: Database,
    settings: Settings,
    path: Path,
    order: Order | None = None,
    on_progress: OnProgress | None = None,
) -> Submission:
    with open_prompts(str(path)) as source:
        return submit(
            database,
            settings,
            CARD,
            source,
            order or Order(key=content_key(source, Order(), CARD)),
            on_progress=on_progress,
        )


def positions(database: Database, batch_id: UUID) -> list[int]:
    with database.read() as session:
        return list(session.scalars(select(Job.position).where(Job.batch_id == batch_id)))


def batches(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Batch)) or 0


def test_the_same_twice_is_one_batch(database: Database, settings: Settings, prompts: Path) -> None:
    first = submit_file(database, settings, prompts)
    again = submit_file(database, settings, prompts)

    assert again.batch_id == first.batch_id
    assert (first.was_there, again.was_there, again.total) == (0, LINES, LINES)
    assert sorted(positions(database, first.batch_id)) == list(range(LINES))
    assert batches(database) == 1


def test_other_settings_another_tenant_or_another_key_are_another_batch(
    sqlite_database: Database, settings: Settings, prompts: Path
) -> None:
    with open_prompts(str(prompts)) as source:
        keys = {
            content_key(source, order, CARD)
            for order in (
                Order(),
                Order(BatchDefaults(seed=1)),
                Order(is_held=True),
                Order(reuses=True),
            )
        }
    assert len(keys) == 4

    for order in (Order(key="a"), Order(key="b"), Order(key="a", tenant="studio")):
        submit_file(sqlite_database, settings, prompts, order)
    assert batches(sqlite_database) == 3


def test_what_the_first_submission_refused_is_told_again(
    sqlite_database: Database, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": 1}\n', "utf-8")

    first = submit_file(sqlite_database, settings, path)
    again = submit_file(sqlite_database, settings, path)

    assert (first.rejects.count, again.rejects.count) == (1, 1)
    assert again.rejects.path == first.rejects.path


class PowerCutError(Exception):
    """The process is gone."""


def test_a_submission_that_was_cut_off_goes_on_where_it_stopped(
    database: Database, settings: Settings, prompts: Path
) -> None:
    def cut(jobs: int, _share: float | None) -> None:
        raise PowerCutError(jobs)

    with pytest.raises(PowerCutError) as begun:
        submit_file(database, settings, prompts, on_progress=cut)
    status = read_status(database, settings, None)
    [written] = begun.value.args
    assert 0 < written == status.summary.total < LINES
    assert not status.summary.is_submitted
    assert not status.is_finished

    submission = submit_file(database, settings, prompts)

    assert (submission.was_there, submission.total) == (written, LINES)
    assert sorted(positions(database, submission.batch_id)) == list(range(LINES))
    status = read_status(database, settings, None)
    assert status.summary.is_submitted
    assert status.summary.counts[JobState.PENDING] == status.summary.total == LINES


def test_of_two_that_submit_the_same_at_once_one_ends(
    database: Database, settings: Settings, prompts: Path
) -> None:
    done: list[Submission] = []

    def overtake(_jobs: int, _share: float | None) -> None:
        if not done:
            done.append(submit_file(database, settings, prompts))

    with pytest.raises(ConflictError, match="is being submitted by somebody else"):
        submit_file(database, settings, prompts, on_progress=overtake)

    assert sorted(positions(database, done[0].batch_id)) == list(range(LINES))
    with database.read() as session:
        assert sum(count_jobs(session, done[0].batch_id).values()) == LINES


def test_a_batch_that_is_cancelled_while_it_is_submitted_grows_no_more(
    database: Database, settings: Settings, prompts: Path
) -> None:
    def cancel(_jobs: int, _share: float | None) -> None:
        with database.write() as session:
            batch = session.scalars(select(Batch)).one()
            cancel_batch(session, batch, database.now(session))

    with pytest.raises(ConflictError, match="was cancelled"):
        submit_file(database, settings, prompts, on_progress=cancel)

    status = read_status(database, settings, None)
    assert status.summary.counts[JobState.CANCELLED] == status.summary.total < LINES


def test_a_file_that_turns_out_to_be_broken_takes_its_batch_with_it(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.txt.gz"
    text = "".join(f"prompt {number}\n" for number in range(50_000))
    path.write_bytes(gzip.compress(text.encode())[:-20_000])

    with pytest.raises(InputError, match=r"is cancelled, with the .* jobs that were written") as e:
        submit_file(database, settings, path)

    assert e.value.message.startswith(f"{path}: is broken gzip, or cut short")
    status = read_status(database, settings, None)
    assert status.is_finished
    assert status.summary.state == "cancelled"


def test_without_a_key_what_fails_half_way_leaves_nothing(
    database: Database, settings: Settings
) -> None:
    def lines() -> Iterator[PromptLine]:
        for number in range(1, 20_000):
            yield AcceptedLine(number, PromptRequest(prompt="a"))
        raise InputError("the disk is gone")

    with pytest.raises(InputError, match=r"^the disk is gone$"):
        submit(database, settings, CARD, PromptSource("p", lines()))

    assert batches(database) == 0


def test_a_file_with_a_bad_line_is_refused_whole_if_that_was_asked_for(
    sqlite_database: Database, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": 1}\n{"prompt": "c", "squeeze": "x"}\n', "utf-8")

    with pytest.raises(RefusedError, match="2 lines are bad, and so none is taken") as refused:
        submit_file(sqlite_database, settings, path, Order(key="k", takes_good_lines=False))

    assert [line.line_number for line in refused.value.rejects.first] == [2, 3]
    assert refused.value.rejects.path is not None
    assert batches(sqlite_database) == 0

    path.write_text('{"prompt": "a"}\n', "utf-8")
    order = Order(key="k", takes_good_lines=False)
    assert submit_file(sqlite_database, settings, path, order).total == 1


def test_a_sample_stands_for_the_whole_batch_and_the_rest_is_held(
    database: Database, settings: Settings, prompts: Path
) -> None:
    order = Order(key="k", is_held=True, sample=4)
    submission = submit_file(database, settings, prompts, order)

    with database.read() as session:
        free = session.scalars(
            select(Job.position)
            .where(Job.batch_id == submission.batch_id, Job.state == JobState.PENDING)
            .order_by(Job.position)
        ).all()
        counts = count_jobs(session, submission.batch_id)
    assert free == [125, 375, 625, 875]
    assert (counts[JobState.HELD], counts[JobState.PENDING]) == (LINES - 4, 4)


def test_a_sample_of_more_than_there_is_is_all() -> None:
    assert spread(10, 3) == [0, 1, 2]
    assert spread(1, 1_000_001) == [500_000]
    assert len(set(spread(10_000, 10_000_000))) == 10_000
