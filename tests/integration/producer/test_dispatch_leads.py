"""Several dispatchers at once: one leads, on both databases, with a real Redis."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from uuid import UUID

import pytest
from redis import Redis

from producer.dispatch import Dispatcher, DispatcherThread
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.tables import Batch, Leadership
from shared.domain.jobs import JobState
from shared.messaging.broker import Broker
from shared.settings import Settings
from support.commands import redis_processes
from support.factories import LEASE, START, add_batch, add_price, add_worker, jobs_of

QUEUE = "cpu.tiny"
SECOND = timedelta(seconds=1)


@pytest.fixture
def first(database: Database, broker: Broker, queue_settings: Settings) -> Dispatcher:
    with database.write() as session:
        add_price(session)
        add_worker(session)
    return Dispatcher(database, broker, queue_settings)


@pytest.fixture
def second(first: Dispatcher, broker: Broker, queue_settings: Settings) -> Dispatcher:
    return Dispatcher(first._database, broker, queue_settings)


def submit(database: Database, jobs: int = 100) -> UUID:
    with database.write() as session:
        return add_batch(session, jobs=jobs).id


def make_room(database: Database, batch_id: UUID) -> None:
    """Have somebody claim all that is in the queue."""
    with database.write() as session:
        worker = add_worker(session)
        worker.stopped_at = START  # or there would be more room
        worker_id = worker.id
        for chunk_id in {job.chunk_id for job in jobs_of(session, batch_id)}:
            if chunk_id is not None:
                claim_chunk(session, chunk_id, worker_id, START, LEASE)


def test_while_one_leads_another_sends_nothing(
    first: Dispatcher, second: Dispatcher, database: Database
) -> None:
    batch_id = submit(database)
    assert first.tick(START) == 3
    make_room(database, batch_id)

    assert second.tick(START + 2 * SECOND) == 0
    assert first.tick(START + 2 * SECOND) == 3


def test_a_leader_that_falls_silent_is_followed_by_another_within_its_lease(
    first: Dispatcher, second: Dispatcher, database: Database
) -> None:
    batch_id = submit(database)
    first.tick(START)
    make_room(database, batch_id)

    assert second.tick(START + 2.9 * SECOND) == 0
    assert second.tick(START + 3 * SECOND) == 3
    make_room(database, batch_id)
    assert first.tick(START + 3.1 * SECOND) == 0, "the old leader has woken, and only looks on"


def test_a_leader_that_looks_often_stays_the_leader(
    first: Dispatcher, second: Dispatcher, database: Database
) -> None:
    for look in range(60):
        first.tick(START + look * SECOND / 4)
        second.tick(START + look * SECOND / 4)
    batch_id = submit(database)

    assert second.tick(START + 15 * SECOND) == 0
    assert first.tick(START + 15 * SECOND) == 3
    with database.read() as session:
        assert len({job.chunk_id for job in jobs_of(session, batch_id)} - {None}) == 3


def test_a_leader_that_stops_is_followed_at_once(
    first: Dispatcher, second: Dispatcher, database: Database
) -> None:
    batch_id = submit(database)
    first.tick(START)
    make_room(database, batch_id)

    first.stop()

    assert second.tick(START) == 3


def test_one_that_only_looked_on_takes_no_lead_along_when_it_stops(
    first: Dispatcher, second: Dispatcher, database: Database
) -> None:
    first.tick(START)
    second.tick(START)

    second.stop()

    with database.read() as session:
        assert session.get(Leadership, "dispatcher") is not None


def test_a_leader_that_lost_the_lead_in_the_middle_of_its_work_stops(
    first: Dispatcher, second: Dispatcher, database: Database
) -> None:
    first.tick(START)
    batch_id = submit(database)
    with database.read() as session:
        look = first._look(session, START)
    second.tick(START + 4 * SECOND)
    make_room(database, batch_id)

    assert first._do(look, START) == 0
    with database.read() as session:
        states = {job.state for job in jobs_of(session, batch_id) if job.chunk_id}
    assert states == {JobState.LEASED}, "nothing was sent after it"


def test_many_at_once_send_no_job_twice_and_fill_no_queue_beyond_its_room(
    first: Dispatcher, database: Database, broker: Broker, queue_settings: Settings, redis_url: str
) -> None:
    batch_id = submit(database, jobs=200)
    only = {"only_batch": batch_id}
    scopes: list[dict[str, UUID]] = [{}, {}, only, only]
    dispatchers = [Dispatcher(database, broker, queue_settings, **scope) for scope in scopes]
    together = Barrier(len(dispatchers))
    rounds = 8

    def look_often(dispatcher: Dispatcher) -> None:
        for look in range(rounds):
            together.wait(timeout=30)
            dispatcher.tick(START + look * 4 * SECOND)
            if together.wait(timeout=30) == 0:
                assert broker.queue_length(QUEUE) <= 3
                with Redis.from_url(redis_url) as client:
                    client.flushall()
                make_room(database, batch_id)
            together.wait(timeout=30)

    with ThreadPoolExecutor(len(dispatchers)) as pool:
        list(pool.map(look_often, dispatchers))

    with database.read() as session:
        jobs = jobs_of(session, batch_id)
    in_chunks = Counter(job.chunk_id for job in jobs if job.chunk_id is not None)
    assert in_chunks, "somebody led"
    assert set(in_chunks.values()) == {4}
    assert {job.fencing_token for job in jobs if job.chunk_id} == {1}


def test_a_render_leaves_its_batch_to_a_leader_that_serves_all(
    first: Dispatcher, database: Database, broker: Broker, queue_settings: Settings
) -> None:
    rendered = submit(database)
    render = Dispatcher(database, broker, queue_settings, only_batch=rendered)
    first.tick(START)
    make_room(database, rendered)

    assert render.tick(START + SECOND) == 0
    assert first.tick(START + SECOND) == 3


def test_a_render_alone_serves_its_own_batch_and_keeps_nobody_from_leading(
    first: Dispatcher, database: Database, broker: Broker, queue_settings: Settings
) -> None:
    other, rendered = submit(database), submit(database)
    render = Dispatcher(database, broker, queue_settings, only_batch=rendered)

    assert render.tick(START) == 3
    with database.read() as session:
        assert not any(job.chunk_id for job in jobs_of(session, other))
        assert session.get(Leadership, "dispatcher") is None

    make_room(database, rendered)
    assert first.tick(START) == 3


def test_two_renders_share_a_queue_without_overfilling_it(
    first: Dispatcher, database: Database, broker: Broker, queue_settings: Settings
) -> None:
    batches = [submit(database), submit(database)]
    renders = [Dispatcher(database, broker, queue_settings, only_batch=one) for one in batches]

    assert [render.tick(START) for render in renders] == [3, 0]
    make_room(database, batches[0])
    assert [render.tick(START) for render in reversed(renders)] == [3, 0]


def test_a_thread_ticks_by_the_databases_clock_and_gives_the_lead_up_when_it_ends(
    first: Dispatcher, database: Database, broker: Broker
) -> None:
    batch_id = submit(database, jobs=4)
    with database.write() as session:
        now = database.now(session)
        add_worker(session, started_at=now)
    thread = DispatcherThread(first, broker, 0.01)
    thread.start()
    chunk_id = None
    while chunk_id is None:
        time.sleep(0.01)
        with database.read() as session:
            chunk_id = jobs_of(session, batch_id)[0].chunk_id
    thread.stop()

    with database.read() as session:
        assert session.get(Leadership, "dispatcher") is None
        dispatched_at = jobs_of(session, batch_id)[0].dispatched_at
        assert dispatched_at is not None
        assert now <= dispatched_at <= database.now(session)


def test_a_paused_batch_is_not_dispatched_by_a_look_from_before_the_pause(
    first: Dispatcher, database: Database
) -> None:
    batch_id = submit(database)
    first.tick(START - 10 * SECOND)
    make_room(database, batch_id)
    with database.read() as session:
        look = first._look(session, START)
    with database.write() as session:
        session.get_one(Batch, batch_id).control = "paused"

    assert first._do(look, START) == 0


def test_a_redis_of_our_own_is_started_again_when_no_worker_is_left_to_ask_for_it(
    database: Database, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path)
    broker = Broker(settings)
    thread = DispatcherThread(Dispatcher(database, broker, settings), broker, 0.01)
    try:
        broker.connect()
        [server] = redis_processes(tmp_path)
        thread.start()
        server.kill()
        server.wait()

        while not redis_processes(tmp_path):
            time.sleep(0.01)
            thread.mend()

        broker.ping()
    finally:
        thread.stop()
        broker.close()
