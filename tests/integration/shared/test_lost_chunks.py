"""A worker is lost with several chunks in hand: only what was in its device is to blame."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from shared.db.engine import Database
from shared.db.fleet import begin_chunk
from shared.db.leases import renew_leases
from shared.db.lost_leases import LOSSES_AN_ATTEMPT, release_worker
from shared.domain.identifiers import new_id
from shared.domain.jobs import LedgerKind
from support.factories import START, add_batch, add_price, add_worker, dispatch, jobs_of, ledger_of
from support.scene import MAX_ATTEMPTS, SECOND, Scene


@pytest.fixture
def two_chunks(database: Database) -> tuple[Scene, Sequence[UUID]]:
    """A batch in two chunks of two jobs, both in the hands of one worker."""
    with database.write() as session:
        add_price(session)
        worker_id = add_worker(session).id
        batch_id = add_batch(session, jobs=4).id
        chunks = [dispatch(session, batch_id, jobs=2) for _ in range(2)]
    scene = Scene(database, batch_id, chunks[0], worker_id)
    for chunk_id in chunks:
        scene.claim(chunk_id)
    return scene, chunks


@pytest.mark.parametrize(
    ("in_device", "counted"),
    [
        pytest.param(0, [1, 0, 0, 0], id="the second waits for its turn"),
        pytest.param(1, [0, 0, 1, 0], id="the first is drawn and not in the books"),
    ],
)
def test_only_the_chunk_in_the_device_loses_an_attempt(
    two_chunks: tuple[Scene, Sequence[UUID]], in_device: int, counted: list[int]
) -> None:
    scene, chunks = two_chunks
    with scene.database.write() as session:
        begin_chunk(session, scene.worker_id, chunks[in_device], START + 2 * SECOND)
    with scene.database.write() as session:
        release_worker(session, scene.worker_id, START + 3 * SECOND, MAX_ATTEMPTS)

    assert scene.states() == ["pending"] * 4
    assert scene.attempts_counted() == counted
    assert scene.kinds_booked()[LedgerKind.FAILED_ATTEMPT] == 4
    scene.assert_books_agree()


def test_device_time_is_booked_from_when_the_chunk_went_in(
    two_chunks: tuple[Scene, Sequence[UUID]],
) -> None:
    scene, (_, second) = two_chunks
    with scene.database.write() as session:
        begin_chunk(session, scene.worker_id, second, START + 2 * SECOND)
        renew_leases(session, {scene.worker_id: [second]}, START + 5 * SECOND, SECOND)

    scene.expire()

    with scene.database.read() as session:
        booked = [entry.device_ns for entry in ledger_of(session, scene.batch_id)]
    assert sorted(booked) == [0, 0, 0, 3_000_000_000]


def test_a_job_that_is_there_whenever_a_worker_is_lost_fails_in_the_end(scene: Scene) -> None:
    """It may kill workers while it waits for its turn: then it is never to blame."""
    losses = LOSSES_AN_ATTEMPT * MAX_ATTEMPTS
    chunk_id = scene.chunk_id
    for _ in range(losses):
        lose_behind_another(scene, chunk_id)
        chunk_id = scene.dispatch()
    assert scene.states() == ["pending"] * 3
    assert scene.attempts_counted() == [0, 0, 0]

    for _ in range(MAX_ATTEMPTS):
        lose_behind_another(scene, chunk_id)
        chunk_id = scene.dispatch()

    assert scene.states() == ["failed"] * 3
    with scene.database.read() as session:
        codes = {job.error_code for job in jobs_of(session, scene.batch_id)}
    assert codes == {"worker_lost"}


def lose_behind_another(scene: Scene, chunk_id: UUID) -> None:
    scene.claim(chunk_id)
    with scene.database.write() as session:
        begin_chunk(session, scene.worker_id, new_id(), START)
    scene.expire()
