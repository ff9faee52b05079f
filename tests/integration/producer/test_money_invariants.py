"""Money is conserved: whatever happens in whatever order, every nano-dollar is explained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy.orm import Session

from producer.reconcile.proof import prove
from shared.db.batches import cancel_batch, cancel_job, retry_failed, set_control
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.fleet import mark_stopped
from shared.db.leases import Lease, renew_leases, return_jobs
from shared.db.ledger import charge_model_load
from shared.db.lost_leases import expire_leases, release_worker
from shared.db.outcomes import PhaseTimes, record_done, record_failure
from shared.db.price_spans import find_affected
from shared.db.prices import price_steps
from shared.db.settlement import settle_worker, unsettled_workers
from shared.db.tables import Batch, Worker
from shared.db.tallies import fold_tallies
from shared.domain.jobs import BatchControl
from support.factories import (
    IMAGE,
    LEASE,
    START,
    add_batch,
    add_price,
    add_worker,
    dispatch,
    jobs_of,
)
from support.pricing import set_price, span_from
from support.scene import SECOND
from support.stories import Opened, pick, run_stories

JOBS = 40
MAX_ATTEMPTS = 3
DEVICES = (("cpu", ""), ("cuda", "g5.xlarge"), ("cuda", "p5.48xlarge"))
LOAD_NS = 1_234_567_891
INSTANT = timedelta(microseconds=1)
workers = st.integers(0, len(DEVICES) - 1)
device_times = st.integers(0, 90 * 10**9)


class MoneyMachine(RuleBasedStateMachine):
    """Workers that come and go, attempts that end late or never, and prices set at any time."""

    opened: ClassVar[Opened]
    stories: ClassVar[Iterator[int]]

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.database = self.stack.enter_context(type(self).opened())
        # Stories may share a database, but no moment.
        self.began = self.now = START + timedelta(days=next(type(self).stories))
        self.leases: list[Lease] = []
        with self.database.write() as session:
            for kind, sku in set(DEVICES):
                add_price(
                    session,
                    device_kind=kind,
                    sku=sku,
                    nanodollars_per_hour=1_000_000_007,
                    effective_from=self.now,
                )
            self.workers = [self._new_worker(session, index) for index in range(len(DEVICES))]
            self.batch_id = add_batch(session, jobs=JOBS).id

    def _new_worker(self, session: Session, index: int) -> UUID:
        kind, sku = DEVICES[index]
        worker = add_worker(session, device_kind=kind, sku=sku, started_at=self.now)
        worker.load_ns = LOAD_NS
        return worker.id

    def teardown(self) -> None:
        with self.database.write() as session:
            cancel_batch(session, session.get_one(Batch, self.batch_id), self.now)
        self.stack.close()

    def moment(self) -> None:
        """No two things happen at the same moment of a database's clock."""
        self.now += INSTANT

    @rule(size=st.integers(1, 4), worker=workers)
    def a_chunk_is_claimed(self, size: int, worker: int) -> None:
        self.claim(size, worker)

    @rule(size=st.integers(1, 4), worker=workers, took=device_times)
    def a_chunk_is_drawn(self, size: int, worker: int, took: int) -> None:
        for lease in self.claim(size, worker):
            self.end(lease, "done", took)

    @rule(worker=workers, took=device_times)
    def an_attempt_that_is_given_up_ends_after_all(self, worker: int, took: int) -> None:
        leases = self.claim(1, worker)
        self.time_passes(10, worker)
        self.time_passes(31, worker)
        for lease in leases:
            self.end(lease, "done", took)

    def claim(self, size: int, worker: int) -> list[Lease]:
        self.moment()
        worker_id = self.workers[worker]
        with self.database.write() as session:
            retry_failed(session, session.get_one(Batch, self.batch_id), self.now)
            chunk_id = dispatch(session, self.batch_id, jobs=size, now=self.now)
            leases = claim_chunk(session, chunk_id, worker_id, self.now, LEASE)
            if leases:
                row = session.get_one(Worker, worker_id)
                charge_model_load(session, row, self.batch_id, row.load_ns, self.now)
        self.leases += leases
        return leases

    @precondition(lambda self: self.leases)
    @rule(
        back=st.integers(0, 5),
        ending=st.sampled_from(["done", "failed", "done", "back"]),
        took=device_times,
    )
    def an_attempt_ends(self, back: int, ending: str, took: int) -> None:
        self.end(pick(self.leases, back), ending, took)

    def end(self, lease: Lease, ending: str, took: int) -> None:
        self.moment()
        times = PhaseTimes(denoise_ns=took)
        with self.database.write() as session:
            match ending:
                case "done":
                    record_done(session, lease, IMAGE, times, {}, self.now)
                case "back":
                    return_jobs(session, [lease], self.now)
                case _:
                    record_failure(
                        session,
                        lease,
                        code="broken",
                        message="it broke",
                        retry_at=self.now,
                        times=times,
                        now=self.now,
                    )

    @rule(position=st.integers(0, JOBS - 1))
    def a_job_is_called_off(self, position: int) -> None:
        self.moment()
        with self.database.write() as session:
            cancel_job(session, jobs_of(session, self.batch_id)[position], self.now)

    @rule(seconds=st.sampled_from([1, 29, 31, 700]), alive=workers)
    def time_passes(self, seconds: int, alive: int) -> None:
        self.now += timedelta(seconds=seconds)
        with self.database.write() as session:
            renew_leases(session, {self.workers[alive]: []}, self.now, LEASE)
        self.moment()
        with self.database.write() as session:
            expire_leases(session, self.now, MAX_ATTEMPTS)

    @rule(worker=workers, dies=st.booleans())
    def a_worker_ends_and_another_begins(self, *, worker: int, dies: bool) -> None:
        self.moment()
        worker_id = self.workers[worker]
        with self.database.write() as session:
            if dies:
                release_worker(session, worker_id, self.now, MAX_ATTEMPTS)
            else:
                mine = [held for held in self.leases if held.attempt.worker_id == worker_id]
                return_jobs(session, mine, self.now)
                mark_stopped(session, worker_id, self.now)
        self.moment()
        with self.database.write() as session:
            self.workers[worker] = self._new_worker(session, worker)

    @rule()
    def the_dispatcher_settles_and_folds(self) -> None:
        self.moment()
        with self.database.write() as session:
            fold_tallies(session)
            for worker_id in unsettled_workers(session, self.now, LEASE):
                settle_worker(session, worker_id, self.now)

    @precondition(lambda self: self.leases)
    @rule(
        back=st.integers(0, 20),
        dollars=st.integers(0, 10),
        shift=st.sampled_from([timedelta(0), timedelta(seconds=-5), INSTANT]),
        waits=st.sampled_from([True, True, False]),
    )
    def a_price_is_set(self, *, back: int, dollars: int, shift: timedelta, waits: bool) -> None:
        """From about when a job was claimed; mostly when nothing is under way."""
        self.now += LEASE + SECOND / 7 if waits else INSTANT
        claim = pick(self.leases, back).attempt
        with self.database.write() as session:
            expire_leases(session, self.now, MAX_ATTEMPTS)
            sku = session.get_one(Worker, claim.worker_id).device_sku
        begin = max(self.began + INSTANT, claim.claimed_at + shift)
        self.set_price(begin, dollars, claim.device_kind, sku)

    def set_price(self, begin: datetime, dollars: int, kind: str, sku: str) -> None:
        with self.database.write() as session:
            span = span_from(session, begin, kind, sku)
            begins = [step.effective_from for step in price_steps(session, kind, sku)]
            if begin not in begins and not find_affected(session, span).running:
                set_price(session, begin, dollars * 10**9 + 1, kind, sku)

    @rule(control=st.sampled_from([BatchControl.ACTIVE, BatchControl.PAUSED]))
    def the_owner_pauses_or_goes_on(self, control: BatchControl) -> None:
        with self.database.write() as session:
            set_control(session, session.get_one(Batch, self.batch_id), control)

    @invariant()
    def the_books_add_up(self) -> None:
        with self.database.snapshot() as session:
            proof = prove(session)
        assert proof.holds, [finding.examples for finding in proof.findings if finding.differences]


def test_every_nanodollar_is_explained_whatever_happens(opened_sqlite: Opened) -> None:
    run_stories(MoneyMachine, opened_sqlite, 25)


def test_every_nanodollar_is_explained_on_postgres(postgres_database: Database) -> None:
    run_stories(MoneyMachine, lambda: nullcontext(postgres_database), 6)
