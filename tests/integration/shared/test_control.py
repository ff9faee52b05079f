"""Batches and jobs: found, paused, called off, tried again; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy.orm import Session

from shared.db.batches import cancel_job, find_batch, retry_failed, retry_job, set_control
from shared.db.engine import Database
from shared.db.leases import return_jobs
from shared.db.tables import Batch, Job
from shared.domain.jobs import AttemptOutcome, BatchControl, LedgerKind
from shared.errors import InputError
from support.factories import START, add_batch, attempts_of, jobs_of
from support.scene import AFTER_LEASE, MAX_ATTEMPTS, Scene


@pytest.mark.parametrize("control", [BatchControl.PAUSED, BatchControl.CANCELLED])
def test_a_batch_that_is_not_active_cannot_be_claimed(scene: Scene, control: BatchControl) -> None:
    with scene.database.write() as session:
        session.get_one(Batch, scene.batch_id).control = control

    assert scene.claim() == []
    assert scene.states() == ["pending"] * 3


def test_a_paused_batch_is_taken_out_of_its_chunks_and_resumes_in_new_ones(scene: Scene) -> None:
    scene.control(BatchControl.PAUSED)
    scene.control(BatchControl.ACTIVE)

    assert scene.claim() == []
    assert len(scene.claim(scene.dispatch())) == 3


def test_a_cancelled_batch_cannot_be_resumed(scene: Scene) -> None:
    scene.cancel()

    with pytest.raises(Exception, match="was cancelled"):
        scene.control(BatchControl.ACTIVE)


def test_cancelling_ends_what_is_pending_and_what_is_leased_and_keeps_what_is_done(
    scene: Scene,
) -> None:
    first, *rest = scene.claim()
    scene.finish(first)
    with scene.database.write() as session:
        return_jobs(session, rest[1:], START)

    assert scene.cancel() == 2
    assert scene.states() == ["done", "cancelled", "cancelled"]
    assert scene.outcomes() == {
        AttemptOutcome.DONE: 1,
        AttemptOutcome.CANCELLED: 1,
        AttemptOutcome.RETURNED: 1,
    }


def test_a_worker_that_finishes_a_cancelled_job_changes_nothing_but_the_bill(scene: Scene) -> None:
    lease, *_ = scene.claim()
    scene.cancel()

    assert not scene.finish(lease)

    assert scene.states() == ["cancelled"] * 3
    with scene.database.read() as session:
        assert jobs_of(session, scene.batch_id)[0].image_key is None
    assert scene.outcomes() == {AttemptOutcome.CANCELLED: 3}
    assert scene.kinds_booked() == {LedgerKind.FAILED_ATTEMPT: 1}
    scene.assert_books_agree()


def test_a_batch_is_found_by_the_start_of_its_id(database: Database) -> None:
    with database.write() as session:
        batch_id = add_batch(session).id

    with database.read() as session:
        assert find_batch(session, None).id == batch_id
        assert find_batch(session, str(batch_id)).id == batch_id
        assert find_batch(session, str(batch_id)[:14]).id == batch_id
        for unknown in ("ffff", "not-an-id", "0" * 40):
            with pytest.raises(Exception, match=f"no batch {unknown}"):
                find_batch(session, unknown)


def test_the_start_of_two_ids_is_refused(database: Database) -> None:
    with database.write() as session:
        ids = [add_batch(session).id for _ in range(2)]
    common = str(ids[0])[:6]

    with database.read() as session, pytest.raises(Exception, match="start of several"):
        find_batch(session, common)


def test_without_a_batch_there_is_no_newest(database: Database) -> None:
    with database.read() as session, pytest.raises(Exception, match="no batch yet"):
        find_batch(session, None)


def fail_all(scene: Scene) -> None:
    for lease in scene.claim():
        scene.fail(lease, again=False)


def retry_all(scene: Scene) -> int:
    with scene.database.write() as session:
        return retry_failed(session, session.get_one(Batch, scene.batch_id), AFTER_LEASE)


def change_job(scene: Scene, change: Callable[[Session, Job, datetime], bool]) -> bool:
    """Do something to the first job."""
    with scene.database.write() as session:
        return change(session, jobs_of(session, scene.batch_id)[0], AFTER_LEASE)


def test_failed_jobs_alone_are_tried_again_as_if_they_were_new(scene: Scene) -> None:
    first, second, third = scene.claim()
    scene.finish(first)
    scene.fail(second, again=False)

    assert retry_all(scene) == 1
    assert scene.states() == ["done", "pending", "leased"]
    with scene.database.read() as session:
        job = jobs_of(session, scene.batch_id)[1]
    assert (job.attempts, job.error_code, job.error_message, job.finished_at) == (
        0,
        None,
        None,
        None,
    )
    assert (job.chunk_id, job.not_before) == (None, AFTER_LEASE)
    assert retry_all(scene) == 0
    assert scene.finish(third)


def test_a_job_that_is_tried_again_has_all_its_attempts_and_goes_on_counting_them(
    scene: Scene,
) -> None:
    fail_all(scene)
    for _ in range(2):
        retry_all(scene)
        for _ in range(MAX_ATTEMPTS):
            scene.claim(scene.dispatch(jobs=1))
            scene.expire()

    with scene.database.read() as session:
        job = jobs_of(session, scene.batch_id)[0]
        attempts = [a for a in attempts_of(session, scene.batch_id) if a.job_id == job.id]
    assert (job.state, job.attempts) == ("failed", MAX_ATTEMPTS)
    tries = 1 + 2 * MAX_ATTEMPTS
    assert [attempt.number for attempt in attempts] == list(range(1, tries + 1))
    assert [attempt.fencing_token for attempt in attempts] == list(range(1, tries + 1))


def test_a_stale_worker_cannot_finish_a_job_that_is_tried_again(scene: Scene) -> None:
    stale, *_ = scene.claim()
    scene.fail(stale, again=False)
    retry_all(scene)

    assert not scene.finish(stale)
    assert scene.states()[0] == "pending"


def test_the_jobs_of_a_cancelled_batch_are_not_tried_again(scene: Scene) -> None:
    fail_all(scene)
    scene.cancel()

    with pytest.raises(InputError, match="was cancelled"):
        retry_all(scene)
    with pytest.raises(InputError, match="was cancelled"):
        change_job(scene, retry_job)


def test_a_batch_that_is_cancelled_cannot_be_paused_with_what_was_read_before(
    scene: Scene,
) -> None:
    with scene.database.read() as session:
        read_before = session.get_one(Batch, scene.batch_id)
    scene.cancel()

    with scene.database.write() as session:
        session.add(read_before)
        with pytest.raises(InputError, match="was cancelled"):
            set_control(session, read_before, BatchControl.PAUSED)


def test_one_job_is_called_off_and_its_neighbours_go_on(scene: Scene) -> None:
    first, second, third = scene.claim()

    assert change_job(scene, cancel_job)

    assert not change_job(scene, cancel_job), "it has ended already"
    assert scene.states() == ["cancelled", "leased", "leased"]
    assert not scene.finish(first)
    assert scene.finish(second)
    assert scene.finish(third)
    assert scene.outcomes() == {AttemptOutcome.CANCELLED: 1, AttemptOutcome.DONE: 2}
    scene.assert_books_agree()


def test_a_job_that_was_called_off_may_be_asked_for_again(scene: Scene) -> None:
    change_job(scene, cancel_job)

    assert change_job(scene, retry_job)

    assert scene.states() == ["pending"] * 3
    assert len(scene.claim(scene.dispatch())) == 1, "the others are in their chunk still"


def test_a_failed_job_may_be_asked_for_again_one_at_a_time(scene: Scene) -> None:
    fail_all(scene)

    assert change_job(scene, retry_job)
    assert scene.states() == ["pending", "failed", "failed"]


@pytest.mark.parametrize("state", ["pending", "leased", "done"])
def test_a_job_that_neither_failed_nor_was_called_off_is_not_tried_again(
    scene: Scene, state: str
) -> None:
    if state != "pending":
        first, *_ = scene.claim()
        if state == "done":
            scene.finish(first)

    assert not change_job(scene, retry_job)
    assert scene.states()[0] == state


def test_a_job_that_is_done_cannot_be_called_off(scene: Scene) -> None:
    first, *_ = scene.claim()
    scene.finish(first)

    assert not change_job(scene, cancel_job)
    assert scene.states()[0] == "done"
