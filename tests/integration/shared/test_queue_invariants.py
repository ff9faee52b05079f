"""Whatever happens in whatever order, the queue's laws hold."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from shared.db.batches import cancel_batch, count_jobs, set_control
from shared.db.engine import Database
from shared.db.leases import (
    Lease,
    claim_chunk,
    expire_leases,
    release_worker,
    renew_leases,
    return_jobs,
)
from shared.db.outcomes import PhaseTimes, record_done, record_failure
from shared.db.tables import Batch
from shared.domain.jobs import AttemptOutcome, BatchControl, LedgerKind
from support.factories import (
    IMAGE,
    LEASE,
    START,
    add_batch,
    add_price,
    add_worker,
    attempts_of,
    dispatch,
    jobs_of,
    ledger_of,
)

JOBS = 4
WORKERS = 2
MAX_ATTEMPTS = 3


class QueueMachine(RuleBasedStateMachine):
    """Two workers, one batch, and everything that may happen to them.

    Leases stay in their bundle after use: a message, a finish or a failure may come twice,
    and long after the lease has ended.
    """

    migrated: ClassVar[Path]
    chunks = Bundle("chunks")
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        path = shutil.copy(self.migrated, Path(self.folder.name) / "queue.sqlite3")
        self.database = Database(f"sqlite:///{path}")
        self.now = START
        self.tokens: set[tuple[UUID, int]] = set()

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    @initialize()
    def submit(self) -> None:
        with self.database.write() as session:
            add_price(session)
            self.workers = [add_worker(session).id for _ in range(WORKERS)]
            self.batch_id = add_batch(session, jobs=JOBS).id

    @rule(target=chunks, size=st.integers(1, JOBS))
    def dispatched(self, size: int) -> UUID:
        with self.database.write() as session:
            return dispatch(session, self.batch_id, jobs=size, now=self.now)

    @rule(target=leases, chunk=chunks, worker=st.integers(0, WORKERS - 1))
    def claimed(self, chunk: UUID, worker: int) -> object:
        with self.database.write() as session:
            claimed = claim_chunk(session, chunk, self.workers[worker], self.now, LEASE)
        tokens = {(lease.job.id, lease.fencing_token) for lease in claimed}
        assert not tokens & self.tokens, "a fencing token was given out twice"
        self.tokens |= tokens
        return multiple(*claimed)

    @rule(worker=st.integers(0, WORKERS - 1), chunk=chunks)
    def heartbeat(self, worker: int, chunk: UUID) -> None:
        with self.database.write() as session:
            renew_leases(session, self.workers[worker], self.now, LEASE, chunk)

    @rule(seconds=st.sampled_from([1, 10, 31]))
    def time_passes_and_the_sweeper_runs(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        with self.database.write() as session:
            expire_leases(session, self.now, MAX_ATTEMPTS)

    @rule(worker=st.integers(0, WORKERS - 1))
    def worker_is_known_to_be_dead(self, worker: int) -> None:
        with self.database.write() as session:
            release_worker(session, self.workers[worker], self.now, MAX_ATTEMPTS)

    @rule(lease=leases, device_ns=st.integers(0, 10**10))
    def finished(self, lease: Lease, device_ns: int) -> None:
        times = PhaseTimes(denoise_ns=device_ns)
        with self.database.write() as session:
            record_done(session, lease, IMAGE, times, {}, self.now)

    @rule(lease=leases, permanent=st.booleans())
    def failed(self, lease: Lease, *, permanent: bool) -> None:
        has_failed = permanent or lease.job.attempts >= MAX_ATTEMPTS
        with self.database.write() as session:
            record_failure(
                session,
                lease,
                code="broken",
                message="it broke",
                retry_at=None if has_failed else self.now,
                times=PhaseTimes(denoise_ns=1_000),
                now=self.now,
            )

    @rule(lease=consumes(leases))
    def given_back(self, lease: Lease) -> None:
        with self.database.write() as session:
            return_jobs(session, [lease], self.now)

    @rule(control=st.sampled_from([BatchControl.PAUSED, BatchControl.ACTIVE]))
    def paused_or_resumed(self, control: BatchControl) -> None:
        with self.database.write() as session:
            batch = session.get_one(Batch, self.batch_id)
            if batch.control != BatchControl.CANCELLED:
                set_control(session, batch, control)

    @rule(dice=st.integers(1, 4))
    def cancelled(self, dice: int) -> None:
        if dice == 1:
            with self.database.write() as session:
                cancel_batch(session, session.get_one(Batch, self.batch_id), self.now)

    @invariant()
    def the_laws_hold(self) -> None:
        with self.database.read() as session:
            counts = count_jobs(session, self.batch_id)
            jobs = jobs_of(session, self.batch_id)
            attempts = attempts_of(session, self.batch_id)
            ledger = ledger_of(session, self.batch_id)
        assert sum(counts.values()) == JOBS

        done = {job.id for job in jobs if job.state == "done"}
        leased = {job.id for job in jobs if job.state == "leased"}
        assert Counter(a.job_id for a in attempts if a.outcome == AttemptOutcome.DONE) == Counter(
            done
        )
        assert Counter(e.job_id for e in ledger if e.kind == LedgerKind.RENDER) == Counter(done)
        running = [a for a in attempts if a.outcome == AttemptOutcome.RUNNING]
        assert Counter(a.job_id for a in running) == Counter(leased)
        assert all((a.finished_at is None) == (a in running) for a in attempts)
        assert all(0 <= job.attempts <= MAX_ATTEMPTS for job in jobs)
        assert all(bool(job.lease_expires_at) == (job.id in leased) for job in jobs)
        costs = {a.id: a.cost_nanodollars for a in attempts if a.cost_nanodollars is not None}
        assert {e.attempt_id: e.amount_nanodollars for e in ledger} == costs


@pytest.fixture
def machine(_migrated_sqlite: Path) -> type[RuleBasedStateMachine]:
    return type("Machine", (QueueMachine,), {"migrated": _migrated_sqlite})


def test_the_laws_of_the_queue_hold_whatever_happens(
    machine: type[RuleBasedStateMachine],
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
