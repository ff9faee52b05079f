"""The status of a batch is what is in the books, and says why nothing happens."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from producer.status import BatchStatus, batch_status, list_batches, read_status
from shared.clock import utc_now
from shared.db.batches import cancel_batch, set_control
from shared.db.engine import Database
from shared.db.tables import Batch
from shared.db.tallies import note_move
from shared.domain.identifiers import new_id
from shared.domain.jobs import BatchControl, JobState
from shared.errors import InputError
from shared.settings import Settings
from shared.storage.folder import FolderStore
from support.drawing import Drawer
from support.factories import START, add_batch, dispatch, jobs_of

JOBS = 12
COST_OF_A_SECOND = 21_250


@pytest.fixture
def batch_id(database: Database) -> UUID:
    with database.write() as session:
        return add_batch(session, jobs=JOBS).id


@pytest.fixture
def drawer(database: Database, tmp_path: Path) -> Drawer:
    return Drawer(database, FolderStore(tmp_path / "objects"), now=START)


Look = Callable[[datetime], BatchStatus]


@pytest.fixture
def look(database: Database, batch_id: UUID) -> Look:
    def at(now: datetime) -> BatchStatus:
        with database.read() as session:
            return batch_status(session, session.get_one(Batch, batch_id), Settings(), now)

    return at


def test_counts_add_up_to_the_total_whatever_happened(
    database: Database, batch_id: UUID, drawer: Drawer, look: Look
) -> None:
    drawer.draw(batch_id, 3)
    [failing, retried] = drawer.claim(batch_id, 2)
    drawer.fail(failing)
    drawer.fail(retried, retry_after=timedelta(seconds=9))
    drawer.claim(batch_id, 2)
    status = look(drawer.now)

    counts = status.summary.counts
    assert sum(counts.values()) == status.summary.total == JOBS
    assert (status.done, status.failed, status.ended) == (3, 1, 4)
    assert counts[JobState.LEASED] == 2
    assert status.summary.state == "working"
    assert status.to_json()["counts"] == {
        "pending": 6,
        "leased": 2,
        "done": 3,
        "failed": 1,
        "cancelled": 0,
        "held": 0,
    }


def test_cost_is_the_sum_of_the_books_with_failed_attempts(
    batch_id: UUID, drawer: Drawer, look: Look
) -> None:
    drawer.draw(batch_id, 2)
    drawer.fail(drawer.claim(batch_id, 1)[0])
    drawer.load_model(batch_id, 2_000_000_000)
    status = look(drawer.now)

    assert status.cost_nanodollars == 5 * COST_OF_A_SECOND
    assert status.to_json()["cost_usd"] == "0.000106250"


def test_the_rate_is_of_the_last_minute_and_gives_a_range_of_time_left(
    batch_id: UUID, drawer: Drawer, look: Look
) -> None:
    drawer.draw(batch_id, 8)
    status = look(drawer.now)

    assert status.images_per_second == pytest.approx(1.0)
    assert status.eta_seconds is not None
    soonest, latest = status.eta_seconds
    assert soonest < 4 < latest

    later = look(drawer.now + timedelta(seconds=56))
    assert later.images_per_second == pytest.approx(4 / 60)


def test_too_few_images_give_no_time_left(batch_id: UUID, drawer: Drawer, look: Look) -> None:
    drawer.draw(batch_id, 2)

    assert look(drawer.now).eta_seconds is None


def test_a_finished_batch_has_the_rate_of_its_whole_run(
    batch_id: UUID, drawer: Drawer, look: Look
) -> None:
    drawer.draw(batch_id)
    status = look(drawer.now + timedelta(days=1))

    assert status.is_finished
    assert status.summary.state == "finished"
    assert status.images_per_second == pytest.approx(1.0)
    assert status.why_idle is None


def test_failures_of_one_kind_are_one_line_with_an_example(
    batch_id: UUID, drawer: Drawer, look: Look
) -> None:
    for held, code in zip(drawer.claim(batch_id, 3), ["hot", "torn", "torn"], strict=True):
        drawer.fail(held, code=code)
    torn, hot = look(drawer.now).failures

    assert (torn.code, torn.count, torn.example_position) == ("torn", 2, 1)
    assert torn.example_message == "job 1 cannot be drawn"
    assert (hot.code, hot.count) == ("hot", 1)


def test_without_a_worker_it_says_which_one_is_missing(look: Look) -> None:
    status = look(START)

    assert status.workers_alive == 0
    assert status.why_idle is not None
    assert "No worker with the model tiny is alive" in status.why_idle


def test_a_worker_with_another_model_or_gone_silent_does_not_count(
    database: Database, tmp_path: Path, look: Look
) -> None:
    store = FolderStore(tmp_path)
    Drawer(database, store, now=START, model="another")
    Drawer(database, store, now=START - timedelta(minutes=5))

    assert look(START).workers_alive == 0


def test_a_paused_batch_says_how_to_go_on(
    database: Database, batch_id: UUID, drawer: Drawer, look: Look
) -> None:
    with database.write() as session:
        set_control(session, session.get_one(Batch, batch_id), BatchControl.PAUSED)
    status = look(START)

    assert status.summary.state == "paused"
    assert status.why_idle == f"It is paused: tenstep resume {batch_id} goes on."


def test_jobs_in_the_queue_wait_for_a_worker_to_take_them(
    database: Database, batch_id: UUID, drawer: Drawer, look: Look
) -> None:
    with database.write() as session:
        dispatch(session, batch_id, jobs=4)

    assert look(START).why_idle == "Its jobs are in the queue; a worker has not taken one yet."


def test_jobs_that_wait_for_another_attempt_say_until_when(
    database: Database, batch_id: UUID, drawer: Drawer, look: Look
) -> None:
    for held in drawer.claim(batch_id):
        drawer.fail(held, retry_after=timedelta(seconds=JOBS + 10))

    assert look(drawer.now).why_idle == "Its jobs failed and are tried again, the first in 11 s."


def test_a_batch_that_nobody_dispatches_says_so(drawer: Drawer, look: Look) -> None:
    assert look(START).why_idle == "It was submitted a moment ago."
    later = look(START + timedelta(seconds=10)).why_idle
    assert later is not None
    assert "tenstep dispatch" in later


def test_a_batch_behind_another_one_says_so(database: Database, drawer: Drawer, look: Look) -> None:
    with database.write() as session:
        other = add_batch(session).id
    drawer.claim(other, 1)

    assert look(START + timedelta(seconds=10)).why_idle == "Other batches are served first."


def test_held_jobs_are_neither_finished_nor_idle_without_a_reason(
    database: Database, batch_id: UUID, look: Look
) -> None:
    with database.write() as session:
        for job in jobs_of(session, batch_id):
            job.state = JobState.HELD
        note_move(session, batch_id, JobState.PENDING, JobState.HELD, JOBS)
    status = look(START)

    assert not status.is_finished
    assert (status.ended, status.summary.state) == (0, "held")
    assert status.why_idle == (
        f"The {JOBS} jobs left are held: tenstep approve {batch_id} has them drawn, "
        f"tenstep reject {batch_id} calls them off."
    )


def test_a_cancelled_batch_keeps_what_was_drawn(
    database: Database, batch_id: UUID, drawer: Drawer, look: Look
) -> None:
    drawer.draw(batch_id, 2)
    with database.write() as session:
        cancel_batch(session, session.get_one(Batch, batch_id), drawer.now)
    status = look(drawer.now)

    assert status.summary.state == "cancelled"
    assert status.is_finished
    assert (status.done, status.summary.counts[JobState.CANCELLED]) == (2, 10)


def test_batches_are_listed_newest_first_and_found_by_the_start_of_their_id(
    database: Database, batch_id: UUID
) -> None:
    with database.write() as session:
        newer = add_batch(session, jobs=1, created_at=utc_now()).id

    assert [batch.id for batch in list_batches(database, 10)] == [newer, batch_id]
    assert [batch.id for batch in list_batches(database, 1)] == [newer]
    assert read_status(database, Settings(), None).summary.id == newer
    assert read_status(database, Settings(), batch_id).summary.id == batch_id
    assert read_status(database, Settings(), str(batch_id)[:30]).summary.id == batch_id
    with pytest.raises(InputError, match="no batch"):
        read_status(database, Settings(), new_id())
