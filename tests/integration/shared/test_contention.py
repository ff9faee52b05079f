"""Many at once on the same jobs: nobody waits for ever, on Postgres; nothing is counted twice."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from threading import Event
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from producer.dispatch.queries import jobs_to_send, mark_sent_again, put_in_chunks, take_back
from shared.db.batches import (
    cancel_batch,
    cancel_job,
    count_jobs,
    retry_failed,
    retry_job,
    set_control,
)
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.leases import Lease, renew_leases, return_jobs
from shared.db.lost_leases import expire_leases, release_worker
from shared.db.many_outcomes import DoneJob, NotAllHeldError, record_all_done
from shared.db.outcomes import record_done, record_failure
from shared.db.tables import Batch, Job
from shared.domain.identifiers import new_id
from shared.domain.jobs import AttemptOutcome, BatchControl, JobState, LedgerKind
from support.factories import (
    IMAGE,
    LEASE,
    START,
    TIMES,
    add_batch,
    add_price,
    add_worker,
    attempts_of,
    jobs_of,
    ledger_of,
)

JOBS = 48
CHUNK = 8
LOOKS = 60
MAX_ATTEMPTS = 1000
QUEUE = "cpu.tiny"


class Crowd:
    """Workers, dispatchers and owners, each in a thread with a mind of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database
        with database.write() as session:
            add_price(session)
            self.workers = [add_worker(session).id for _ in range(3)]
            self.batch_id = add_batch(session, jobs=JOBS).id
        self.is_over = Event()

    def chunks(self) -> list[UUID]:
        with self.database.read() as session:
            sent = select(Job.chunk_id).where(Job.batch_id == self.batch_id)
            return list({chunk for chunk in session.scalars(sent) if chunk is not None})

    def some_job(self, session: Session, dice: random.Random) -> Job:
        return jobs_of(session, self.batch_id)[dice.randrange(JOBS)]

    def work(self, seed: int) -> None:
        dice = random.Random(seed)
        worker = self.workers[seed % len(self.workers)]
        while not self.is_over.is_set():
            for chunk_id in self.chunks():
                with self.database.write() as session:
                    leases = claim_chunk(session, chunk_id, worker, START, LEASE)
                with self.database.write() as session:
                    renew_leases(session, {worker: [chunk_id]}, START, LEASE)
                dice.shuffle(leases)
                self.end(leases, dice)

    def end(self, leases: list[Lease], dice: random.Random) -> None:
        if leases and dice.random() < 0.2:
            self.finish(leases)
            return
        while leases and dice.random() < 0.8:
            lease, ending = leases.pop(), dice.random()
            with self.database.write() as session:
                if ending < 0.1:
                    record_done(session, lease, IMAGE, TIMES, {}, START)
                else:
                    record_failure(
                        session,
                        lease,
                        code="broken",
                        message="it broke",
                        retry_at=START if ending < 0.7 else None,
                        times=TIMES,
                        now=START,
                    )
        with self.database.write() as session:
            return_jobs(session, leases, START)

    def finish(self, leases: list[Lease]) -> None:
        with suppress(NotAllHeldError), self.database.write() as session:
            done = [DoneJob(lease, IMAGE, TIMES, {}) for lease in leases]
            record_all_done(session, done, START)

    def dispatch(self, _: int) -> None:
        while not self.is_over.is_set():
            with self.database.write() as session:
                if jobs := jobs_to_send(session, self.batch_id, CHUNK, None, START):
                    put_in_chunks(session, {new_id(): jobs}, QUEUE, START)
            with self.database.write() as session:
                mark_sent_again(session, self.chunks(), START)
            with self.database.write() as session:
                take_back(session, [QUEUE], None)

    def sweep(self, seed: int) -> None:
        while not self.is_over.is_set():
            with self.database.write() as session:
                expire_leases(session, START + 2 * LEASE, MAX_ATTEMPTS)
            with self.database.write() as session:
                release_worker(session, self.workers[seed % 3], START, MAX_ATTEMPTS)

    def own(self, seed: int) -> None:
        dice = random.Random(seed)
        wishes: list[Callable[[Session], object]] = [
            lambda session: cancel_job(session, self.some_job(session, dice), START),
            lambda session: retry_job(session, self.some_job(session, dice), START),
            lambda session: retry_failed(session, self.batch(session), START),
            lambda session: set_control(session, self.batch(session), BatchControl.PAUSED),
            lambda session: set_control(session, self.batch(session), BatchControl.ACTIVE),
        ]
        for _ in range(LOOKS):
            with self.database.write() as session:
                dice.choice(wishes)(session)

    def batch(self, session: Session) -> Batch:
        return session.get_one(Batch, self.batch_id)


def test_whoever_comes_at_once_nobody_deadlocks_and_the_books_agree(
    postgres_database: Database,
) -> None:
    crowd = Crowd(postgres_database)
    background = [crowd.work, crowd.work, crowd.work, crowd.dispatch, crowd.dispatch, crowd.sweep]
    with ThreadPoolExecutor(len(background) + 2) as pool:
        others = [pool.submit(act, seed) for seed, act in enumerate(background)]
        owners = [pool.submit(crowd.own, seed) for seed in range(2)]
        try:
            for owner in owners:
                owner.result(timeout=50)
            with postgres_database.write() as session:
                cancel_batch(session, crowd.batch(session), START)
        finally:
            crowd.is_over.set()
        for other in others:
            other.result(timeout=50)

    with postgres_database.read() as session:
        counts = count_jobs(session, crowd.batch_id)
        jobs = jobs_of(session, crowd.batch_id)
        attempts = attempts_of(session, crowd.batch_id)
        ledger = ledger_of(session, crowd.batch_id)
    done = {job.id for job in jobs if job.state == JobState.DONE}
    assert sum(counts.values()) == JOBS
    assert not counts[JobState.PENDING]
    assert not counts[JobState.LEASED]
    assert AttemptOutcome.RUNNING not in {attempt.outcome for attempt in attempts}
    assert Counter(e.job_id for e in ledger if e.kind == LedgerKind.RENDER) == Counter(done)
    tokens = Counter(attempt.job_id for attempt in attempts)
    assert all(job.fencing_token == tokens[job.id] for job in jobs)


def test_a_claim_takes_what_is_free_and_waits_for_nobody(postgres_database: Database) -> None:
    crowd = Crowd(postgres_database)
    with postgres_database.write() as session:
        chunk_id = new_id()
        jobs = jobs_to_send(session, crowd.batch_id, CHUNK, None, START)
        put_in_chunks(session, {chunk_id: jobs}, QUEUE, START)

    with postgres_database.write() as session:
        assert cancel_job(session, jobs_of(session, crowd.batch_id)[2], START)
        with postgres_database.write() as other:
            claimed = claim_chunk(other, chunk_id, crowd.workers[0], START, LEASE)

    assert [lease.job.position for lease in claimed] == [0, 1, 3, 4, 5, 6, 7]


def test_a_heartbeat_waits_for_nobody(postgres_database: Database) -> None:
    crowd = Crowd(postgres_database)
    with postgres_database.write() as session:
        chunk_id = new_id()
        jobs = jobs_to_send(session, crowd.batch_id, CHUNK, None, START)
        put_in_chunks(session, {chunk_id: jobs}, QUEUE, START)
    later = START + timedelta(seconds=5)
    with postgres_database.write() as session:
        claim_chunk(session, chunk_id, crowd.workers[0], START, LEASE)

    with postgres_database.write() as session:
        assert cancel_job(session, jobs_of(session, crowd.batch_id)[0], START)
        with postgres_database.write() as heart:
            renew_leases(heart, {crowd.workers[0]: [chunk_id]}, later, LEASE)

    with postgres_database.read() as session:
        ends = [job.lease_expires_at for job in jobs_of(session, crowd.batch_id)[:CHUNK]]
    assert ends == [None] + [later + LEASE] * (CHUNK - 1)


def test_a_transaction_that_does_nothing_for_too_long_is_ended(postgres_database: Database) -> None:
    impatient = Database(
        postgres_database.engine.url.render_as_string(hide_password=False), idle_seconds=0.2
    )
    with impatient.write() as session:
        session.execute(text("SELECT 1"))
        time.sleep(0.6)
        with pytest.raises(DBAPIError):
            session.execute(text("SELECT 1"))
        session.rollback()
    impatient.close()
