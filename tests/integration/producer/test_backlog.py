"""The backlog in device time, by which fleets are sized, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from producer.backlog import UNKNOWN, Backlog, Pool, read_backlog
from shared.db.batches import cancel_batch
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.fleet import live_kinds, live_models
from shared.db.model_tables import WorkerModel
from shared.db.rates import record_rates
from shared.db.tables import Job, Worker
from shared.db.tallies import fold_tallies
from shared.domain.jobs import BatchControl
from shared.domain.rates import Measured, Shape
from support.factories import LEASE, START, add_batch, add_price, add_worker, dispatch

SECOND_NS = 10**9
SHAPE = Shape(64, 64, 10, is_guided=True)
LARGER = Shape(128, 128, 10, is_guided=True)


def backlog(database: Database) -> Backlog:
    with database.snapshot() as session:
        return read_backlog(session, live_kinds(session, START, LEASE))


def measure(session: Session, worker: Worker, shape: Shape, seconds: int) -> None:
    measured = Measured(10, 10 * seconds * SECOND_NS, 10 * (seconds * 1_000) ** 2, 0)
    record_rates(session, worker.id, "tiny", {shape: measured}, START)


@pytest.mark.parametrize("folded", [False, True])
def test_each_kind_is_told_what_all_of_it_would_take_there(
    database: Database, *, folded: bool
) -> None:
    with database.write() as session:
        add_price(session)
        worker = add_worker(session)
        measure(session, worker, SHAPE, 2)
        measure(session, add_worker(session, device_kind="cuda"), SHAPE, 1)
        batch_id = add_batch(session, jobs=7).id
        add_batch(session, jobs=3)
        chunk = dispatch(session, batch_id, jobs=4)
        claim_chunk(session, chunk, worker.id, START, LEASE)
    if folded:
        with database.write() as session:
            fold_tallies(session)

    found = backlog(database)

    assert found.jobs == {"tiny": 10}
    assert found.device_ns == {
        Pool("cpu", "tiny"): 20 * SECOND_NS,
        Pool("cuda", "tiny"): 10 * SECOND_NS,
    }
    assert found.unrated_jobs == {}
    assert found.oldest_batch_at == START


def test_what_nobody_has_measured_is_told_apart(database: Database) -> None:
    with database.write() as session:
        add_worker(session)
        add_batch(session, jobs=3)
        add_batch(session, jobs=2, model="other/model")

    found = backlog(database)

    assert found.jobs == {"tiny": 3, "other/model": 2}
    assert found.device_ns == {}
    assert found.unrated_jobs == {Pool("cpu", "tiny"): 3, Pool(UNKNOWN, "other/model"): 2}


def test_nobody_is_to_draw_what_is_paused_or_cancelled(database: Database) -> None:
    with database.write() as session:
        measure(session, add_worker(session), SHAPE, 1)
        add_batch(session, jobs=5).control = BatchControl.PAUSED
        cancel_batch(session, add_batch(session, jobs=2), START)

    found = backlog(database)

    assert found == Backlog({}, {}, {}, None)


def test_batches_count_by_the_shapes_of_their_next_jobs(database: Database) -> None:
    with database.write() as session:
        worker = add_worker(session)
        measure(session, worker, SHAPE, 1)
        measure(session, worker, LARGER, 5)
        add_batch(session, jobs=10)
        larger = add_batch(session, jobs=30).id
        session.execute(update(Job).where(Job.batch_id == larger).values(width=128, height=128))

    assert backlog(database).device_ns == {Pool("cpu", "tiny"): (10 + 150) * SECOND_NS}


def test_a_batch_whose_jobs_are_all_on_their_way_counts_too(database: Database) -> None:
    with database.write() as session:
        measure(session, add_worker(session), SHAPE, 3)
        dispatch(session, add_batch(session, jobs=2).id)

    assert backlog(database).device_ns == {Pool("cpu", "tiny"): 6 * SECOND_NS}


def test_the_oldest_batch_is_one_with_pending_jobs(database: Database) -> None:
    with database.write() as session:
        add_price(session)
        worker = add_worker(session)
        oldest = add_batch(session, jobs=1, created_at=START - timedelta(hours=2))
        add_batch(session, jobs=1, created_at=START - timedelta(hours=1))
        claim_chunk(session, dispatch(session, oldest.id), worker.id, START, LEASE)

    assert backlog(database).oldest_batch_at == START - timedelta(hours=1)


def test_every_model_of_a_live_worker_counts_as_served(database: Database) -> None:
    with database.write() as session:
        worker = add_worker(session)
        session.add(WorkerModel(worker_id=worker.id, model="also", queue="cpu.also"))
        add_worker(session, device_kind="cuda").stopped_at = START
        add_batch(session, jobs=2, model="also")

    assert backlog(database).unrated_jobs == {Pool("cpu", "also"): 2}
    with database.read() as session:
        told = {(one.worker.device_kind, one.model) for one in live_models(session, START, LEASE)}
        assert set(live_kinds(session, START, LEASE)) == told == {("cpu", "tiny"), ("cpu", "also")}
