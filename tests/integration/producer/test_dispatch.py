"""The dispatcher, with a real Redis, on both databases."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from redis import Redis
from sqlalchemy import update

from producer.dispatch import Dispatcher
from shared.db.batches import set_control
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.tables import Batch, Job, Worker
from shared.domain.jobs import BatchControl, JobState
from shared.messaging.broker import Broker
from shared.settings import Settings
from support.factories import LEASE, START, add_batch, add_price, add_worker, jobs_of

QUEUE = "cpu.tiny"
SECOND = timedelta(seconds=1)


@pytest.fixture
def dispatcher(database: Database, broker: Broker, queue_settings: Settings) -> Dispatcher:
    with database.write() as session:
        add_price(session)
    return Dispatcher(database, broker, queue_settings)


def add_live_worker(database: Database) -> UUID:
    with database.write() as session:
        return add_worker(session).id


def submit(database: Database, jobs: int, priority: int = 0) -> UUID:
    with database.write() as session:
        batch = add_batch(session, jobs=jobs)
        batch.priority = priority
        return batch.id


def sent_chunks(database: Database, batch_id: UUID) -> list[UUID]:
    """Return the chunks that nobody has claimed, in order."""
    with database.read() as session:
        jobs = jobs_of(session, batch_id)
    sent = [job.chunk_id for job in jobs if job.chunk_id and job.state == JobState.PENDING]
    return list(dict.fromkeys(sent))


def chunks(database: Database, batch_id: UUID) -> list[list[int]]:
    """Return the positions in each chunk that was sent, in order."""
    with database.read() as session:
        found: dict[UUID, list[int]] = {}
        for job in jobs_of(session, batch_id):
            if job.chunk_id is not None and job.state == JobState.PENDING:
                found.setdefault(job.chunk_id, []).append(job.position)
    return list(found.values())


def test_it_keeps_a_few_chunks_a_worker_ahead_and_no_more(
    dispatcher: Dispatcher, database: Database, broker: Broker
) -> None:
    batch_id = submit(database, jobs=100)
    add_live_worker(database)

    assert dispatcher.tick(START) == 3
    assert dispatcher.tick(START + SECOND) == 0

    assert chunks(database, batch_id) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert broker.queue_length(QUEUE) == 3

    add_live_worker(database)
    assert dispatcher.tick(START + SECOND) == 3


def test_it_sends_nothing_where_nobody_works(dispatcher: Dispatcher, database: Database) -> None:
    submit(database, jobs=4)
    assert dispatcher.tick(START) == 0


@pytest.mark.parametrize("unfit", ["stopped", "silent", "draining"])
def test_it_sends_nothing_to_a_worker_that_takes_nothing(
    unfit: str, dispatcher: Dispatcher, database: Database
) -> None:
    submit(database, jobs=4)
    with database.write() as session:
        worker = add_worker(session)
        worker.draining = unfit == "draining"
        worker.stopped_at = START if unfit == "stopped" else None
        worker.heartbeat_at = START - timedelta(hours=1) if unfit == "silent" else START

    assert dispatcher.tick(START) == 0


def test_a_flushed_redis_is_filled_again(
    dispatcher: Dispatcher, database: Database, broker: Broker, redis_url: str
) -> None:
    submit(database, jobs=8)
    add_live_worker(database)
    dispatcher.tick(START)
    assert broker.queue_length(QUEUE) == 2

    with Redis.from_url(redis_url) as client:
        client.flushall()
    assert dispatcher.tick(START + SECOND) == 0, "too early to tell that they are lost"
    assert dispatcher.tick(START + 6 * SECOND) == 2
    assert broker.queue_length(QUEUE) == 2


def test_what_was_lost_is_found_missing_beside_newer_messages(
    dispatcher: Dispatcher, database: Database, broker: Broker, redis_url: str
) -> None:
    batch_id = submit(database, jobs=100)
    worker = add_live_worker(database)
    dispatcher.tick(START)
    lost = sent_chunks(database, batch_id)
    with Redis.from_url(redis_url) as client:
        client.flushall()
    with database.write() as session:
        claim_chunk(session, lost.pop(), worker, START + SECOND, LEASE)
    assert dispatcher.tick(START + SECOND) == 1
    assert broker.waiting_chunks(QUEUE).isdisjoint(lost)

    assert dispatcher.tick(START + 6 * SECOND) == 2

    assert broker.waiting_chunks(QUEUE) == set(sent_chunks(database, batch_id))
    assert broker.queue_length(QUEUE) == 3


def test_what_is_lost_once_more_is_sent_once_more(
    dispatcher: Dispatcher, database: Database, broker: Broker, redis_url: str
) -> None:
    submit(database, jobs=8)
    add_live_worker(database)
    dispatcher.tick(START)
    for look in range(1, 40):
        with Redis.from_url(redis_url) as client:
            client.flushall()
        dispatcher.tick(START + look * SECOND / 4)

    assert dispatcher.tick(START + 15 * SECOND) == 2
    assert broker.queue_length(QUEUE) == 2


def test_a_long_queue_is_read_seldom_but_at_once_where_much_is_missing(
    database: Database, broker: Broker, queue_settings: Settings, redis_url: str
) -> None:
    long = queue_settings.model_copy(update={"chunk_size": 1, "look_ahead": 100})
    dispatcher = Dispatcher(database, broker, long)
    submit(database, jobs=3_000)
    for _ in range(30):
        add_live_worker(database)
    with Redis.from_url(redis_url) as client:
        assert dispatcher.tick(START) == 3_000

        client.rpop(f"tenstep:{QUEUE}")
        assert dispatcher.tick(START + 6 * SECOND) == 1

        client.rpop(f"tenstep:{QUEUE}")
        assert dispatcher.tick(START + 8.5 * SECOND) == 0, "the queue was read a moment ago"
        client.rpop(f"tenstep:{QUEUE}", 349)
        assert dispatcher.tick(START + 8.6 * SECOND) == 350
        assert dispatcher.tick(START + 11.6 * SECOND) == 0
        client.rpop(f"tenstep:{QUEUE}")
        assert dispatcher.tick(START + 14.7 * SECOND) == 1


def test_a_corrupt_message_in_a_queue_stops_nothing(
    dispatcher: Dispatcher, database: Database, broker: Broker, redis_url: str
) -> None:
    submit(database, jobs=8)
    add_live_worker(database)
    dispatcher.tick(START)
    with Redis.from_url(redis_url) as client:
        key = f"tenstep:{QUEUE}"
        client.delete(key)
        client.rpush(key, b"\xff", b"[]", b"{}", b'{"headers": {"id": "me"}}', b'{"headers": 1}')

    assert dispatcher.tick(START + 6 * SECOND) == 2


def test_what_still_waits_in_its_queue_is_not_sent_again(
    dispatcher: Dispatcher, database: Database, broker: Broker
) -> None:
    submit(database, jobs=8)
    add_live_worker(database)
    dispatcher.tick(START)

    assert dispatcher.tick(START + 25 * SECOND) == 0
    assert broker.queue_length(QUEUE) == 2


def test_a_higher_priority_goes_first(dispatcher: Dispatcher, database: Database) -> None:
    low = submit(database, jobs=100)
    high = submit(database, jobs=8, priority=5)
    add_live_worker(database)

    dispatcher.tick(START)

    assert sum(map(len, chunks(database, high))) == 8
    assert sum(map(len, chunks(database, low))) == 4


def test_a_paused_batch_waits(dispatcher: Dispatcher, database: Database) -> None:
    batch_id = submit(database, jobs=4)
    add_live_worker(database)
    with database.write() as session:
        set_control(session, session.get_one(Batch, batch_id), BatchControl.PAUSED)

    assert dispatcher.tick(START) == 0


def test_a_job_that_was_tried_before_travels_alone(
    dispatcher: Dispatcher, database: Database
) -> None:
    batch_id = submit(database, jobs=5)
    with database.write() as session:
        for job in jobs_of(session, batch_id)[:2]:
            job.fencing_token = 1
    add_live_worker(database)

    dispatcher.tick(START)

    assert chunks(database, batch_id) == [[0], [1], [2, 3, 4]]


def test_jobs_of_different_sizes_do_not_share_a_chunk(
    dispatcher: Dispatcher, database: Database
) -> None:
    batch_id = submit(database, jobs=4)
    with database.write() as session:
        session.execute(update(Job).where(Job.position == 2).values(width=128))
    add_live_worker(database)

    dispatcher.tick(START)

    assert chunks(database, batch_id) == [[0, 1, 3], [2]]


def test_a_job_that_waits_for_its_next_attempt_is_not_sent_before(
    dispatcher: Dispatcher, database: Database
) -> None:
    batch_id = submit(database, jobs=1)
    with database.write() as session:
        jobs_of(session, batch_id)[0].not_before = START + 5 * SECOND
    add_live_worker(database)

    assert dispatcher.tick(START) == 0
    assert dispatcher.tick(START + 6 * SECOND) == 1


def test_the_jobs_of_a_silent_worker_go_to_another(
    dispatcher: Dispatcher, database: Database
) -> None:
    batch_id = submit(database, jobs=4)
    lost = add_live_worker(database)
    dispatcher.tick(START)
    with database.write() as session:
        chunk_id = jobs_of(session, batch_id)[0].chunk_id
        assert chunk_id is not None
        assert len(claim_chunk(session, chunk_id, lost, START, LEASE)) == 4
    later = START + LEASE + SECOND
    with database.write() as session:
        add_worker(session, started_at=later)

    assert dispatcher.tick(later) > 0

    with database.read() as session:
        jobs = jobs_of(session, batch_id)
    assert [job.state for job in jobs] == [JobState.PENDING] * 4
    assert chunks(database, batch_id)[:3] == [[0], [1], [2]]
    assert [job.attempts for job in jobs] == [1, 0, 0, 0]


def test_a_queue_that_nobody_reads_any_more_is_emptied_for_others(
    dispatcher: Dispatcher, database: Database
) -> None:
    batch_id = submit(database, jobs=4)
    gone = add_live_worker(database)
    dispatcher.tick(START)
    with database.write() as session:
        session.get_one(Worker, gone).stopped_at = START
        add_worker(session, device_kind="cuda", started_at=START + 40 * SECOND)
        add_price(session, device_kind="cuda")

    dispatcher.tick(START + 40 * SECOND)

    with database.read() as session:
        assert {job.queue for job in jobs_of(session, batch_id)} == {"cuda.tiny"}
