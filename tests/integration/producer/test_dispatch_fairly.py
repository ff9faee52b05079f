"""Who is served when, with batches of very different sizes, on both databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, insert, select, text

from producer.dispatch import Dispatcher
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.tables import Job
from shared.domain.identifiers import new_id
from shared.domain.jobs import JobState
from shared.messaging.broker import Broker
from shared.settings import Settings
from support.factories import LEASE, START, add_batch, add_price, add_worker
from support.plans import explained

CHUNK = 4
MANY = {"postgresql": 100_000, "sqlite": 20_000}
SECOND = timedelta(seconds=1)
NARROW = (
    "ix_job_over_budget",
    *("ix_job_unsent", "ix_job_sent", "ix_job_chunk", "ix_job_lease"),
    *("pk_job", "sqlite_autoindex_job_1"),
)
"""Indexes that lead to the jobs that are wanted, past all others of their batch."""


class Floor:
    """One worker, one dispatcher, and the order in which chunks are drawn."""

    def __init__(self, database: Database, broker: Broker, settings: Settings) -> None:
        self.database = database
        self.broker = broker
        self.settings = settings
        self.now = START
        self.names: dict[UUID, str] = {}
        with database.write() as session:
            add_price(session)
            self.worker = add_worker(session).id
        self.replace_dispatcher()

    @property
    def dialect(self) -> str:
        return self.database.engine.dialect.name

    def replace_dispatcher(self, weights: dict[str, float] | None = None) -> None:
        settings = self.settings.model_copy(update={"tenant_weights": weights or {}})
        self.now += timedelta(seconds=settings.dispatcher_lease_seconds)
        self.dispatcher = Dispatcher(self.database, self.broker, settings)

    def submit(
        self,
        name: str,
        jobs: int,
        *,
        tenant: str = "anna",
        priority: int = 0,
        deadline_at: datetime | None = None,
    ) -> UUID:
        with self.database.write() as session:
            batch = add_batch(session, jobs=0)
            batch.tenant, batch.priority, batch.deadline_at = tenant, priority, deadline_at
            add_jobs(self.database, batch.id, jobs, session.connection())
            self.names[batch.id] = name
            return batch.id

    def draw(self, chunks: int) -> list[str]:
        """Have the worker take chunk by chunk, first come first served; returns whose."""
        drawn: list[str] = []
        for _ in range(chunks):
            self.dispatcher.tick(self.now)
            with self.database.write() as session:
                oldest = (
                    select(Job.chunk_id)
                    .where(Job.state == JobState.PENDING, Job.chunk_id.is_not(None))
                    .group_by(Job.chunk_id, Job.dispatched_at)
                    .order_by(Job.dispatched_at, Job.chunk_id)
                    .limit(1)
                )
                chunk_id = session.scalar(oldest)
                if chunk_id is None:
                    return drawn
                leases = claim_chunk(session, chunk_id, self.worker, self.now, LEASE)
                drawn.append(self.names[leases[0].job.batch_id])
            self.now += SECOND / 10
        return drawn


def add_jobs(database: Database, batch_id: UUID, jobs: int, connection: Connection) -> None:
    """Insert many jobs at the speed of the database."""
    sample = {
        "batch_id": batch_id,
        "prompt": "a cat",
        "negative_prompt": "",
        "seed": 0,
        "width": 64,
        "height": 64,
        "steps": 10,
        "guidance_scale": 7.5,
        "guidance_rescale": 0.8,
        "details": {},
        "state": JobState.PENDING,
        "attempts": 0,
        "fencing_token": 0,
        "position": 0,
    }
    if not jobs:
        return
    connection.execute(insert(Job).values(id=new_id(), **sample))
    if jobs == 1:
        return
    is_postgres = database.engine.dialect.name == "postgresql"
    counted = (
        "SELECT i FROM generate_series(1, :more) AS numbers (i)"
        if is_postgres
        else "WITH RECURSIVE numbers (i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < :more) SELECT i FROM numbers"
    )
    new = "gen_random_uuid()" if is_postgres else "lower(hex(randomblob(16)))"
    copied = [name for name in [*sample, "scheduler"] if name != "position"]
    connection.execute(
        text(
            f"INSERT INTO job (id, position, {', '.join(copied)}) "  # noqa: S608 - our own names
            f"SELECT {new}, numbers.i, {', '.join(copied)} FROM job, ({counted}) AS numbers "
            "WHERE batch_id = :batch"
        ),
        {"more": jobs - 1, "batch": batch_id if is_postgres else batch_id.hex},
    )


@pytest.fixture
def floor(database: Database, broker: Broker, queue_settings: Settings) -> Iterator[Floor]:
    floor = Floor(database, broker, queue_settings)
    yield floor
    floor.dispatcher.stop()


def test_a_huge_batch_delays_another_tenants_small_one_by_a_few_chunks(floor: Floor) -> None:
    floor.submit("huge", MANY[floor.dialect], tenant="anna")
    floor.draw(5)

    floor.submit("small", 10, tenant="ben")

    drawn = floor.draw(12)
    assert drawn.count("small") == 3
    assert drawn.index("small") <= 4, "behind what was in the queue already"
    assert "small" not in drawn[9:]


def test_weights_share_a_queue_out(floor: Floor) -> None:
    floor.replace_dispatcher({"studio": 3})
    floor.submit("hobby", 1000, tenant="anna")
    floor.submit("work", 1000, tenant="studio")

    assert Counter(floor.draw(40)) == {"hobby": 10, "work": 30}


def test_a_tenants_deadlines_are_kept_in_order_below_its_priorities(floor: Floor) -> None:
    floor.submit("whenever", 8)
    floor.submit("tomorrow", 8, deadline_at=START + timedelta(days=1))
    floor.submit("today", 8, deadline_at=START + timedelta(hours=1))
    floor.submit("urgent", 8, priority=1)

    assert floor.draw(9) == [
        *("urgent", "urgent", "today", "today"),
        *("tomorrow", "tomorrow", "whenever", "whenever"),
    ]


def test_a_tenants_batches_of_one_rank_take_turns(floor: Floor) -> None:
    for name in "abc":
        floor.submit(name, 1000)

    assert Counter(floor.draw(30)) == {"a": 10, "b": 10, "c": 10}


def test_leaders_that_change_all_the_time_are_fair_all_the_same(floor: Floor) -> None:
    floor.submit("annas", 1000, tenant="anna")
    floor.submit("bens", 1000, tenant="ben")
    drawn: list[str] = []
    for _ in range(10):
        floor.replace_dispatcher()
        drawn += floor.draw(4)

    assert min(Counter(drawn).values()) >= 15


def test_a_finished_batch_makes_way_in_the_same_look(floor: Floor) -> None:
    floor.submit("first", 4, priority=1)
    floor.submit("second", 100)

    assert floor.draw(3) == ["first", "second", "second"]


@pytest.mark.parametrize("is_counted", [False, True])
def test_no_query_of_a_look_reads_a_batch_from_end_to_end(
    floor: Floor, *, is_counted: bool
) -> None:
    floor.submit("huge", 2 * MANY[floor.dialect])
    floor.submit("small", 10, tenant="ben")
    if is_counted:
        with floor.database.engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")
    floor.draw(3)
    floor.dispatcher.tick(floor.now)

    def look() -> None:
        with floor.database.write() as session:
            lost = add_worker(session)
            lost.stopped_at = floor.now
            some = select(Job).where(Job.chunk_id.is_not(None), Job.state == JobState.PENDING)
            job = session.scalars(some.limit(1)).one()
            assert job.chunk_id is not None
            claim_chunk(session, job.chunk_id, lost.id, floor.now - 2 * LEASE, LEASE)
        floor.now += 6 * SECOND
        assert floor.dispatcher.tick(floor.now)

    plans = explained(floor.database, look)

    assert len(plans) > 10
    for plan in plans:
        assert all(any(index in way for index in NARROW) for way in plan.ways), plan
