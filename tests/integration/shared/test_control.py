"""Batches and jobs: found, paused, called off, tried again; on both databases."""

from __future__ import annotations

import pytest

from shared.db.batches import find_batch
from shared.db.engine import Database
from shared.db.leases import (
    return_jobs,
)
from shared.db.tables import Batch
from shared.domain.jobs import AttemptOutcome, BatchControl, LedgerKind
from support.factories import (
    START,
    add_batch,
    jobs_of,
)
from support.scene import Scene


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
