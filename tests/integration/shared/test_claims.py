"""A chunk is claimed once, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.tables import Worker
from shared.domain.jobs import AttemptOutcome
from support.factories import (
    LEASE,
    START,
    add_batch,
    add_price,
    add_worker,
    attempts_of,
    dispatch,
    jobs_of,
)
from support.scene import SECOND, Scene


def test_a_chunk_is_claimed_in_order_and_its_attempts_counted(scene: Scene) -> None:
    leases = scene.claim()

    assert [lease.job.position for lease in leases] == [0, 1, 2]
    assert [lease.fencing_token for lease in leases] == [1, 1, 1]
    assert scene.states() == ["leased"] * 3
    assert scene.attempts_counted() == [1, 1, 1]
    assert scene.outcomes() == {AttemptOutcome.RUNNING: 3}


def test_a_claim_is_the_workers_sign_of_taking_work(scene: Scene) -> None:
    scene.claim()

    with scene.database.read() as session:
        assert session.get_one(Worker, scene.worker_id).last_claim_at == START


def test_an_attempt_says_how_long_its_job_waited(scene: Scene) -> None:
    with scene.database.write() as session:
        claim_chunk(session, scene.chunk_id, scene.worker_id, START + 2 * SECOND, LEASE)

    with scene.database.read() as session:
        waits = {attempt.queue_wait_ns for attempt in attempts_of(session, scene.batch_id)}
    assert waits == {2_000_000_000}


def test_a_message_that_arrives_twice_finds_nothing_to_claim(scene: Scene) -> None:
    scene.claim()

    assert scene.claim() == []
    assert scene.attempts_counted() == [1, 1, 1]


def test_two_workers_at_once_never_both_get_a_job(database: Database) -> None:
    with database.write() as session:
        add_price(session)
        workers = [add_worker(session).id for _ in range(2)]
        batch_id = add_batch(session, jobs=20).id
        chunks = [dispatch(session, batch_id, jobs=4) for _ in range(5)]
    together = Barrier(2)

    def claim_all(worker_id: UUID) -> list[UUID]:
        won = []
        for chunk_id in chunks:
            together.wait(timeout=30)
            with database.write() as session:
                won += [
                    lease.job.id
                    for lease in claim_chunk(session, chunk_id, worker_id, START, LEASE)
                ]
        return won

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(claim_all, workers)

    assert len(first) + len(second) == 20
    assert not set(first) & set(second)
    with database.read() as session:
        assert len(attempts_of(session, batch_id)) == 20
        assert {job.fencing_token for job in jobs_of(session, batch_id)} == {1}
