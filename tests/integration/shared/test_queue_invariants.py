"""Whatever happens in whatever order, the queue's laws hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import (
    ExitStack,
    contextmanager,
    nullcontext,
    suppress,
)
from datetime import timedelta
from typing import ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from shared.db.batches import (
    cancel_batch,
    cancel_job,
    retry_failed,
    retry_job,
    set_control,
)
from shared.db.claims import claim_chunk
from shared.db.cost_tables import LedgerEntry
from shared.db.engine import Database
from shared.db.leases import Lease, renew_leases, return_jobs
from shared.db.lost_leases import expire_leases, release_worker
from shared.db.outcomes import record_done, record_failure
from shared.db.tables import Batch
from shared.db.tallies import fold_tallies, read_tally
from shared.domain.jobs import TRANSITIONS, AttemptOutcome, BatchControl, JobState, LedgerKind
from shared.errors import InputError
from support.factories import (
    IMAGE,
    LEASE,
    START,
    TIMES,
    add_batch,
    add_price,
    add_worker,
    attempts_of,
    dispatch,
    jobs_of,
    ledger_of,
)
from support.stories import Opened, pick, run_stories

JOBS = 4
WORKERS = 3
MAX_ATTEMPTS = 3
ENDINGS = ["done", "transient", "done", "permanent", "given back"]
WISHES = {"pause": BatchControl.PAUSED, "resume": BatchControl.ACTIVE}
CONTROLS = [*["resume", "pause", "retry failed"] * 3, "cancel"]


workers = st.integers(0, WORKERS - 1)
positions = st.integers(0, JOBS - 1)
ages = st.integers(0, 5)


class QueueMachine(RuleBasedStateMachine):
    """Three workers, one batch, and everything that may happen to them.

    Chunks and leases are remembered after use: a message, a finish or a failure may come
    twice, and long after the lease has ended.
    """

    opened: ClassVar[Opened]

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.database = self.stack.enter_context(type(self).opened())
        self.now = START
        self.states: dict[UUID, str] = {}
        self.chunks: list[UUID] = []
        self.leases: list[Lease] = []
        self.tokens: dict[UUID, int] = {}
        with self.database.write() as session:
            self.workers = [add_worker(session).id for _ in range(WORKERS)]
            self.batch_id = add_batch(session, jobs=JOBS).id

    def teardown(self) -> None:
        with self.database.write() as session:
            cancel_batch(session, session.get_one(Batch, self.batch_id), self.now)
        self.stack.close()

    @rule(size=st.integers(1, JOBS), worker=workers)
    def a_chunk_is_sent_and_claimed(self, size: int, worker: int) -> None:
        with self.database.write() as session:
            self.chunks.append(dispatch(session, self.batch_id, jobs=size, now=self.now))
        self.claim(self.chunks[-1], worker)

    @precondition(lambda self: self.chunks)
    @rule(back=ages, worker=workers)
    def a_message_arrives_again(self, back: int, worker: int) -> None:
        self.claim(pick(self.chunks, back), worker)

    def claim(self, chunk: UUID, worker: int) -> None:
        with self.database.write() as session:
            claimed = claim_chunk(session, chunk, self.workers[worker], self.now, LEASE)
        for lease in claimed:
            assert lease.fencing_token > self.tokens.get(lease.job.id, 0), "it must rise"
            self.tokens[lease.job.id] = lease.fencing_token
        self.leases += claimed

    @precondition(lambda self: self.leases)
    @rule(back=ages, ending=st.sampled_from(ENDINGS))
    def an_attempt_ends(self, back: int, ending: str) -> None:
        lease = pick(self.leases, back)
        with self.database.write() as session:
            match ending:
                case "done":
                    record_done(session, lease, IMAGE, TIMES, {}, self.now)
                case "given back":
                    return_jobs(session, [lease], self.now)
                case _:
                    has_failed = ending == "permanent" or lease.job.attempts >= MAX_ATTEMPTS
                    record_failure(
                        session,
                        lease,
                        code="broken",
                        message="it broke",
                        retry_at=None if has_failed else self.now,
                        times=TIMES,
                        now=self.now,
                    )

    @rule(seconds=st.sampled_from([31, 10, 1]), heartbeat_of=workers)
    def time_passes_and_one_worker_gives_a_sign(self, seconds: int, heartbeat_of: int) -> None:
        with self.database.write() as session:
            chunk_id = self.chunks[-1] if self.chunks else None
            renew_leases(session, {self.workers[heartbeat_of]: [chunk_id]}, self.now, LEASE)
        self.now += timedelta(seconds=seconds)
        with self.database.write() as session:
            expire_leases(session, self.now, MAX_ATTEMPTS)

    @rule(worker=workers)
    def a_worker_is_known_to_be_dead(self, worker: int) -> None:
        with self.database.write() as session:
            release_worker(session, self.workers[worker], self.now, MAX_ATTEMPTS)

    @rule()
    def the_dispatcher_folds_the_counts(self) -> None:
        with self.database.write() as session:
            fold_tallies(session)

    @precondition(lambda self: self.leases)
    @rule(wish=st.sampled_from(CONTROLS))
    def the_owner_has_a_wish(self, wish: str) -> None:
        with suppress(InputError), self.database.write() as session:
            batch = session.get_one(Batch, self.batch_id)
            match wish:
                case "cancel":
                    cancel_batch(session, batch, self.now)
                case "retry failed":
                    retry_failed(session, batch, self.now)
                case _:
                    set_control(session, batch, WISHES[wish])

    @precondition(lambda self: self.leases)
    @rule(position=positions, wish=st.sampled_from(["retry", "cancel", "retry"]))
    def the_owner_has_a_wish_about_one_job(self, position: int, wish: str) -> None:
        with suppress(InputError), self.database.write() as session:
            job = jobs_of(session, self.batch_id)[position]
            if wish == "cancel":
                cancel_job(session, job, self.now)
            else:
                retry_job(session, job, self.now)

    @invariant()
    def the_laws_hold(self) -> None:
        with self.database.read() as session:
            tally = read_tally(session, self.batch_id)
            counts = tally.counts
            jobs = jobs_of(session, self.batch_id)
            attempts = attempts_of(session, self.batch_id)
            ledger = ledger_of(session, self.batch_id)
        assert sum(counts.values()) == JOBS
        assert counts == {state: sum(job.state == state for job in jobs) for state in JobState}
        assert tally.nanodollars == sum(entry.amount_nanodollars for entry in ledger)
        for job in jobs:
            before, after = JobState(self.states.get(job.id, job.state)), JobState(job.state)
            assert before == after or after in TRANSITIONS[before], f"{before} became {after}"
            self.states[job.id] = job.state

        done = {job.id for job in jobs if job.state == "done"}
        leased = {job.id for job in jobs if job.state == "leased"}
        assert Counter(a.job_id for a in attempts if a.outcome == AttemptOutcome.DONE) == Counter(
            done
        )
        assert Counter(e.job_id for e in ledger if e.kind == LedgerKind.RENDER) == Counter(done)
        running = [a for a in attempts if a.outcome == AttemptOutcome.RUNNING]
        assert Counter(a.job_id for a in running) == Counter(leased)
        assert all((a.finished_at is None) == (a in running) for a in attempts)
        assert all((a.outcome != AttemptOutcome.RUNNING) or a.job_id in leased for a in attempts)
        assert all(0 <= job.attempts <= MAX_ATTEMPTS for job in jobs)
        assert all(a.number == a.fencing_token for a in attempts)
        assert all(bool(job.lease_expires_at) == (job.id in leased) for job in jobs)
        costs = {a.id: a.cost_nanodollars for a in attempts if a.cost_nanodollars is not None}
        assert booked_by_attempt(ledger) == costs


def booked_by_attempt(ledger: Sequence[LedgerEntry]) -> dict[UUID | None, int]:
    booked: Counter[UUID | None] = Counter()
    for entry in ledger:
        booked[entry.attempt_id] += entry.amount_nanodollars
    return dict(booked)


def test_the_laws_of_the_queue_hold_whatever_happens(opened_sqlite: Opened) -> None:
    @contextmanager
    def with_a_price() -> Iterator[Database]:
        with opened_sqlite() as database:
            with database.write() as session:
                add_price(session)
            yield database

    run_stories(QueueMachine, with_a_price, 12)


def test_the_laws_of_the_queue_hold_on_postgres(postgres_database: Database) -> None:
    with postgres_database.write() as session:
        add_price(session)

    run_stories(QueueMachine, lambda: nullcontext(postgres_database), 5)
