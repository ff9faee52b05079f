"""Money is conserved: whatever happens in whatever order, every nano-dollar is explained."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from producer.reconcile.proof import prove
from shared.db.batches import cancel_batch, retry_failed, set_control
from shared.db.engine import Database
from shared.db.fleet import mark_stopped
from shared.db.leases import Lease, claim_chunk, renew_leases, return_jobs
from shared.db.ledger import charge_model_load
from shared.db.lost_leases import expire_leases, release_worker
from shared.db.outcomes import PhaseTimes, record_done, record_failure
from shared.db.settlement import settle_worker, unsettled_workers
from shared.db.tables import Batch, Worker
from shared.db.tallies import fold_tallies
from shared.domain.jobs import BatchControl
from support.factories import IMAGE, LEASE, START, add_batch, add_price, add_worker, dispatch

JOBS = 6
MAX_ATTEMPTS = 3
KINDS = (("cpu", ""), ("cuda", "g5.xlarge"), ("cuda", "p5.48xlarge"))
INSTANT = timedelta(microseconds=1)

workers = st.integers(0, len(KINDS) - 1)
ages = st.integers(0, 5)
device_times = st.integers(0, 90 * 10**9)
T = TypeVar("T")


def pick(remembered: list[T], back: int) -> T:
    return remembered[max(0, len(remembered) - 1 - back)]


class MoneyMachine(RuleBasedStateMachine):
    """Workers of three prices; attempts that end late, twice or never; prices that change."""

    opened: ClassVar[Callable[[], AbstractContextManager[Database]]]
    stories: ClassVar[Iterator[int]]

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.database = self.stack.enter_context(type(self).opened())
        # Stories may share a database, but no moment.
        self.now = START + timedelta(days=next(type(self).stories))
        self.leases: list[Lease] = []
        with self.database.write() as session:
            for index, (kind, sku) in enumerate(KINDS):
                add_price(
                    session,
                    device_kind=kind,
                    sku=sku,
                    nanodollars_per_hour=1_000_000_007 * (index + 1),
                    effective_from=self.now,
                )
            self.workers = [
                add_worker(session, device_kind=kind, sku=sku, started_at=self.now).id
                for kind, sku in KINDS
            ]
            for worker_id in self.workers:
                session.get_one(Worker, worker_id).load_ns = 1_234_567_891
            self.batch_id = add_batch(session, jobs=JOBS).id

    def teardown(self) -> None:
        with self.database.write() as session:
            cancel_batch(session, session.get_one(Batch, self.batch_id), self.now)
        self.stack.close()

    def moment(self) -> None:
        """No two things happen at the same moment of a database's clock."""
        self.now += INSTANT

    @rule(size=st.integers(1, JOBS), worker=workers)
    def a_chunk_is_claimed(self, size: int, worker: int) -> None:
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

    @precondition(lambda self: self.leases)
    @rule(back=ages, ending=st.sampled_from(["done", "failed", "returned"]), took=device_times)
    def an_attempt_ends(self, back: int, ending: str, took: int) -> None:
        self.moment()
        lease = pick(self.leases, back)
        times = PhaseTimes(denoise_ns=took)
        with self.database.write() as session:
            match ending:
                case "done":
                    record_done(session, lease, IMAGE, times, {}, self.now)
                case "returned":
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

    @rule(seconds=st.sampled_from([1, 29, 31, 700]), alive=workers)
    def time_passes(self, seconds: int, alive: int) -> None:
        self.now += timedelta(seconds=seconds)
        with self.database.write() as session:
            renew_leases(session, self.workers[alive], self.now, LEASE, None)
        self.moment()
        with self.database.write() as session:
            expire_leases(session, self.now, MAX_ATTEMPTS)

    @rule(worker=workers, dies=st.booleans())
    def a_worker_ends_and_another_begins(self, *, worker: int, dies: bool) -> None:
        self.moment()
        with self.database.write() as session:
            if dies:
                release_worker(session, self.workers[worker], self.now, MAX_ATTEMPTS)
            else:
                mine = [
                    held for held in self.leases if held.attempt.worker_id == self.workers[worker]
                ]
                return_jobs(session, mine, self.now)
                mark_stopped(session, self.workers[worker], self.now)
        self.moment()
        kind, sku = KINDS[worker]
        with self.database.write() as session:
            row = add_worker(session, device_kind=kind, sku=sku, started_at=self.now)
            self.workers[worker] = row.id

    @rule(worker=workers, dollars=st.integers(1, 10))
    def a_price_changes(self, worker: int, dollars: int) -> None:
        self.moment()
        kind, sku = KINDS[worker]
        with self.database.write() as session:
            add_price(
                session,
                device_kind=kind,
                sku=sku,
                nanodollars_per_hour=dollars * 10**9 + 1,
                effective_from=self.now,
            )

    @rule()
    def the_dispatcher_settles_and_folds(self) -> None:
        self.moment()
        with self.database.write() as session:
            fold_tallies(session)
            for worker_id in unsettled_workers(session, self.now, LEASE):
                settle_worker(session, worker_id, self.now)

    @rule(control=st.sampled_from(list(BatchControl)[:2]))
    def the_owner_pauses_or_goes_on(self, control: BatchControl) -> None:
        with self.database.write() as session:
            set_control(session, session.get_one(Batch, self.batch_id), control)

    @invariant()
    def the_books_add_up(self) -> None:
        with self.database.snapshot() as session:
            proof = prove(session)
        assert proof.holds, [f.examples for f in proof.findings if f.differences]


def run(opened: Callable[[], AbstractContextManager[Database]], stories: int) -> None:
    run_state_machine_as_test(
        type("Machine", (MoneyMachine,), {"opened": staticmethod(opened), "stories": count()}),
        settings=settings(
            max_examples=stories,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            # Shrinking takes minutes; set Phase.shrink to look into a failure.
            phases=[Phase.generate],
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def opened_sqlite(_migrated_sqlite: Path) -> Callable[[], AbstractContextManager[Database]]:
    @contextmanager
    def opened() -> Iterator[Database]:
        with tempfile.TemporaryDirectory() as folder:
            path = shutil.copy(_migrated_sqlite, Path(folder) / "books.sqlite3")
            database = Database(f"sqlite:///{path}")
            yield database
            database.close()

    return opened


def test_every_nanodollar_is_explained_whatever_happens(
    opened_sqlite: Callable[[], AbstractContextManager[Database]],
) -> None:
    run(opened_sqlite, stories=25)


def test_every_nanodollar_is_explained_on_postgres(postgres_database: Database) -> None:
    run(lambda: nullcontext(postgres_database), stories=5)
