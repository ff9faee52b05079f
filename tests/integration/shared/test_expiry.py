"""Workers that fall silent, and what becomes of their jobs, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.db.leases import renew_leases
from shared.db.lost_leases import release_worker
from shared.db.tables import Worker
from shared.domain.jobs import AttemptOutcome, LedgerKind
from support.factories import (
    LEASE,
    START,
    add_batch,
    add_price,
    add_worker,
    dispatch,
    jobs_of,
    ledger_of,
)
from support.scene import AFTER_LEASE, MAX_ATTEMPTS, SECOND, Scene


def test_a_late_finish_after_a_price_change_leaves_books_and_attempt_in_agreement(
    scene: Scene,
) -> None:
    lease, *_ = scene.claim()
    with scene.database.write() as session:
        renew_leases(session, {scene.worker_id: [scene.chunk_id]}, START + LEASE, timedelta(0))
    scene.expire()
    with scene.database.write() as session:
        add_price(session, nanodollars_per_hour=90_000_000, effective_from=START)

    scene.finish(lease)

    scene.assert_books_agree()


def test_an_expired_lease_gives_its_jobs_back(scene: Scene) -> None:
    scene.claim()

    assert scene.expire() == 3
    assert scene.states() == ["pending"] * 3
    assert scene.outcomes() == {AttemptOutcome.LOST: 3}
    assert scene.expire() == 0
    assert len(scene.claim(scene.dispatch())) == 3


def test_a_lease_that_was_renewed_does_not_expire(scene: Scene) -> None:
    scene.claim()
    with scene.database.write() as session:
        renew_leases(session, {scene.worker_id: [scene.chunk_id]}, START + 20 * SECOND, LEASE)

    assert scene.expire() == 0
    assert scene.states() == ["leased"] * 3


def test_a_heartbeat_renews_the_workers_own_leases_alone(scene: Scene) -> None:
    scene.claim()
    with scene.database.write() as session:
        other = add_worker(session).id
        renew_leases(session, {other: [scene.chunk_id]}, START + 20 * SECOND, LEASE)

    assert scene.expire() == 3


def test_a_heartbeat_renews_the_chunk_that_its_worker_works_on_alone(scene: Scene) -> None:
    scene.claim()
    with scene.database.write() as session:
        elsewhere = dispatch(session, add_batch(session, jobs=1).id)
        renew_leases(session, {scene.worker_id: [elsewhere]}, START + 20 * SECOND, LEASE)
        assert session.get_one(Worker, scene.worker_id).heartbeat_at == START + 20 * SECOND

    assert scene.expire() == 3


def test_only_the_job_that_was_being_drawn_loses_an_attempt(scene: Scene) -> None:
    scene.claim()

    scene.expire()

    assert scene.attempts_counted() == [1, 0, 0]


def test_the_job_being_drawn_is_the_first_that_its_worker_left(scene: Scene) -> None:
    first, *_ = scene.claim()
    scene.finish(first)

    scene.expire()

    assert scene.states() == ["done", "pending", "pending"]
    assert scene.attempts_counted() == [1, 1, 0]


def test_a_job_that_loses_its_worker_every_time_has_failed_and_takes_nobody_along(
    scene: Scene,
) -> None:
    chunk_id = scene.chunk_id
    for _ in range(MAX_ATTEMPTS):
        scene.claim(chunk_id)
        scene.expire()
        chunk_id = scene.dispatch()

    assert scene.states() == ["failed", "pending", "pending"]
    with scene.database.read() as session:
        failed = jobs_of(session, scene.batch_id)[0]
    assert failed.error_code == "worker_lost"
    assert failed.attempts == MAX_ATTEMPTS
    assert failed.finished_at == AFTER_LEASE


def test_device_time_of_a_lost_worker_is_booked_until_its_last_sign_of_life(scene: Scene) -> None:
    scene.claim()
    with scene.database.write() as session:
        renew_leases(session, {scene.worker_id: [scene.chunk_id]}, START + 5 * SECOND, timedelta(0))

    scene.expire()

    with scene.database.read() as session:
        booked = [entry.device_ns for entry in ledger_of(session, scene.batch_id)]
    assert sorted(booked) == [0, 0, 5_000_000_000]
    assert scene.kinds_booked() == {LedgerKind.FAILED_ATTEMPT: 3}
    scene.assert_books_agree()


@pytest.mark.parametrize("ended_by", ["done", "failure"])
def test_device_time_before_the_last_attempt_ended_is_not_booked_twice(
    scene: Scene, ended_by: str
) -> None:
    first, *_ = scene.claim()
    if ended_by == "done":
        scene.finish(first)
    else:
        scene.fail(first, again=False)
    with scene.database.write() as session:
        renew_leases(session, {scene.worker_id: [scene.chunk_id]}, START + 5 * SECOND, timedelta(0))

    scene.expire()

    with scene.database.read() as session:
        entries = ledger_of(session, scene.batch_id)
    assert sum(entry.device_ns for entry in entries) == 5_000_000_000


def test_a_worker_known_to_be_dead_loses_its_jobs_at_once(scene: Scene) -> None:
    scene.claim()
    with scene.database.write() as session:
        released = release_worker(session, scene.worker_id, START + SECOND, MAX_ATTEMPTS)

    assert released == 3
    assert scene.states() == ["pending"] * 3
    assert scene.outcomes() == {AttemptOutcome.LOST: 3}
    with scene.database.read() as session:
        assert session.get_one(Worker, scene.worker_id).stopped_at == START + SECOND


def test_a_dead_workers_jobs_are_not_those_of_others(scene: Scene) -> None:
    scene.claim()
    with scene.database.write() as session:
        other = add_worker(session).id
        assert release_worker(session, other, START, MAX_ATTEMPTS) == 0

    assert scene.states() == ["leased"] * 3
