"""A budget is kept to the image: the rest is held, and goes on when there is money again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select

from producer.budgets import set_batch_budget, set_tenant_budget, tenant_budget
from producer.dispatch import Dispatcher
from producer.status import read_status
from shared.db.batches import cancel_batch, release_held, retry_failed
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.leases import Lease, return_jobs
from shared.db.outcomes import record_done, record_failure
from shared.db.tables import Batch, Job
from shared.db.tallies import note_move, read_tally
from shared.domain.budgets import BudgetPeriod
from shared.domain.jobs import JobState
from shared.messaging.broker import Broker
from shared.settings import Settings
from support.commands import wait_until
from support.factories import IMAGE, LEASE, START, TIMES, add_batch, add_price, add_worker, jobs_of
from support.shell import Shell

IMAGE_COST = 11_111
"""Nano-dollars: a second at the factories' price."""
SECOND = timedelta(seconds=1)


class Company:
    """Two workers, one dispatcher, and batches that may cost only so much."""

    def __init__(self, database: Database, broker: Broker, settings: Settings) -> None:
        self.database = database
        self.settings = settings
        self.now = START
        with database.write() as session:
            add_price(session)
            self.workers = [add_worker(session).id for _ in range(2)]
        self.dispatcher = Dispatcher(database, broker, settings)

    def submit(self, jobs: int, *, images: int | None = None, tenant: str = "anna") -> UUID:
        with self.database.write() as session:
            batch = add_batch(session, jobs=jobs)
            batch.tenant = tenant
            batch.max_nanodollars = None if images is None else images * IMAGE_COST
            return batch.id

    def tick(self) -> None:
        for _ in range(3):
            self.dispatcher.tick(self.now)
        self.now += SECOND / 4

    def claim(self, worker: UUID) -> Sequence[Lease]:
        self.tick()
        with self.database.write() as session:
            sent = select(Job.chunk_id).where(
                Job.state == JobState.PENDING, Job.chunk_id.is_not(None)
            )
            chunk_id = session.scalar(sent.order_by(Job.dispatched_at, Job.chunk_id).limit(1))
            return (
                [] if chunk_id is None else claim_chunk(session, chunk_id, worker, self.now, LEASE)
            )

    def finish(self, leases: Sequence[Lease]) -> None:
        for held in leases:
            with self.database.write() as session:
                assert record_done(session, held, IMAGE, TIMES, {}, self.now)

    def draw_until_idle(self) -> int:
        """Have both workers draw in turn; returns the most images that were in hand at once."""
        in_hand = 0
        while True:
            leases = [self.claim(worker) for worker in self.workers]
            in_hand = max(in_hand, sum(map(len, leases)))
            for held in leases:
                self.finish(held)
            if not any(leases):
                return in_hand

    def set_budget(self, batch_id: UUID, images: int | None) -> None:
        with self.database.write() as session:
            batch = session.get_one(Batch, batch_id)
            set_batch_budget(session, batch, None if images is None else images * IMAGE_COST)

    def counts(self, batch_id: UUID) -> dict[str, int]:
        with self.database.read() as session:
            counts = read_tally(session, batch_id).counts
        return {state.value: count for state, count in counts.items() if count}


@pytest.fixture
def company(database: Database, broker: Broker, queue_settings: Settings) -> Company:
    return Company(database, broker, queue_settings)


def test_a_budget_of_five_images_draws_five_and_holds_the_rest(company: Company) -> None:
    batch_id = company.submit(20, images=5)
    company.draw_until_idle()

    assert company.counts(batch_id) == {"done": 5, "held": 15}
    status = read_status(company.database, company.settings, batch_id)
    assert status.cost_nanodollars == 5 * IMAGE_COST
    assert status.summary.state == "held"
    assert status.why_idle is not None
    assert f"tenstep budget {batch_id} --max-cost" in status.why_idle


def test_raising_it_goes_on_for_just_as_many(company: Company) -> None:
    batch_id = company.submit(20, images=5)
    company.draw_until_idle()
    company.set_budget(batch_id, 8)
    company.draw_until_idle()
    assert company.counts(batch_id) == {"done": 8, "held": 12}

    company.set_budget(batch_id, None)
    company.draw_until_idle()
    assert company.counts(batch_id) == {"done": 20}


def test_lowering_it_below_what_is_spent_stops_what_is_pending(company: Company) -> None:
    batch_id = company.submit(20)
    company.finish(company.claim(company.workers[0]))
    company.set_budget(batch_id, 1)
    company.draw_until_idle()

    assert company.counts(batch_id) == {"done": 4, "held": 16}


def test_before_the_cost_of_an_image_is_known_one_is_drawn_alone(company: Company) -> None:
    company.submit(20, images=10)
    first, second = (company.claim(worker) for worker in company.workers)

    assert (len(first), len(second)) == (1, 0)
    company.finish(first)
    assert len(company.claim(company.workers[0])) == 4


def test_what_is_in_hand_counts_as_spent(company: Company) -> None:
    batch_id = company.submit(20, images=6)
    company.finish(company.claim(company.workers[0]))
    one, other = (company.claim(worker) for worker in company.workers)

    assert (len(one), len(other)) == (4, 1)
    assert company.claim(company.workers[0]) == []
    with company.database.write() as session:
        return_jobs(session, one, company.now)
    company.finish(other)
    company.draw_until_idle()
    assert company.counts(batch_id) == {"done": 6, "held": 14}


def test_failed_attempts_are_paid_for_too(company: Company) -> None:
    batch_id = company.submit(20, images=5)
    company.finish(company.claim(company.workers[0]))
    failed, *others = company.claim(company.workers[0])
    with company.database.write() as session:
        return_jobs(session, others, company.now)
        record_failure(
            session,
            failed,
            code="broken",
            message="it broke",
            retry_at=None,
            times=TIMES,
            now=company.now,
        )
    company.draw_until_idle()

    with company.database.read() as session:
        spent = read_tally(session, batch_id).nanodollars
    assert spent == 5 * IMAGE_COST
    assert company.counts(batch_id) == {"done": 4, "failed": 1, "held": 15}


def test_images_that_turn_out_dearer_cost_no_more_than_what_was_in_flight(
    company: Company,
) -> None:
    batch_id = company.submit(20, images=10)
    company.finish(company.claim(company.workers[0]))
    times = replace(TIMES, denoise_ns=3 * TIMES.denoise_ns)
    claimed = company.claim(company.workers[0])
    with company.database.write() as session:
        for held in claimed:
            assert record_done(session, held, IMAGE, times, {}, company.now)
    company.draw_until_idle()

    assert company.counts(batch_id) == {"done": 5, "held": 15}


def test_a_tenants_budget_is_for_all_of_its_batches(company: Company) -> None:
    with company.database.write() as session:
        most = 6 * IMAGE_COST
        set_tenant_budget(session, "anna", most, BudgetPeriod.EVER, company.now)
    batches = [company.submit(10), company.submit(10)]
    others = company.submit(3, tenant="ben")
    company.draw_until_idle()

    drawn = [company.counts(batch_id) for batch_id in batches]
    assert sum(counts["done"] for counts in drawn) == 6
    assert sum(counts["held"] for counts in drawn) == 14
    assert company.counts(others) == {"done": 3}
    with company.database.read() as session:
        assert tenant_budget(session, "anna", company.now).spent_nanodollars == 6 * IMAGE_COST


def test_a_months_budget_is_there_again_the_next_month(company: Company) -> None:
    with company.database.write() as session:
        most = 2 * IMAGE_COST
        set_tenant_budget(session, "anna", most, BudgetPeriod.MONTH, company.now)
    batch_id = company.submit(10)
    company.draw_until_idle()
    assert company.counts(batch_id) == {"done": 2, "held": 8}

    company.now = datetime(2030, 2, 1, tzinfo=START.tzinfo)
    with company.database.write() as session:
        company.workers = [add_worker(session, started_at=company.now).id for _ in range(2)]
    company.draw_until_idle()
    assert company.counts(batch_id) == {"done": 4, "held": 6}


def test_money_is_no_approval_and_approval_no_money(company: Company) -> None:
    batch_id = company.submit(10, images=4)
    with company.database.write() as session:
        jobs = jobs_of(session, batch_id)
        for job in jobs[6:]:
            job.state = JobState.HELD
        note_move(session, batch_id, JobState.PENDING, JobState.HELD, 4)
    company.draw_until_idle()
    assert company.counts(batch_id) == {"done": 4, "held": 6}

    company.set_budget(batch_id, None)
    company.draw_until_idle()
    assert company.counts(batch_id) == {"done": 6, "held": 4}, "these wait for an approval"

    company.set_budget(batch_id, 7)
    with company.database.write() as session:
        assert release_held(session, session.get_one(Batch, batch_id), 100) == 4
    company.draw_until_idle()
    assert company.counts(batch_id) == {"done": 7, "held": 3}
    with company.database.write() as session:
        assert release_held(session, session.get_one(Batch, batch_id), 100) == 0


def test_what_is_held_for_money_can_be_called_off(company: Company) -> None:
    batch_id = company.submit(10, images=2)
    company.draw_until_idle()
    with company.database.write() as session:
        cancel_batch(session, session.get_one(Batch, batch_id), company.now)
    company.tick()

    assert company.counts(batch_id) == {"done": 2, "cancelled": 8}
    with company.database.read() as session:
        assert {job.held_for for job in jobs_of(session, batch_id)} == {None}


def test_failed_jobs_that_are_tried_again_have_to_be_paid_for(company: Company) -> None:
    batch_id = company.submit(3, images=2)
    for held in [*company.claim(company.workers[0])]:
        with company.database.write() as session:
            record_failure(
                session,
                held,
                code="broken",
                message="it broke",
                retry_at=None,
                times=TIMES,
                now=company.now,
            )
    company.draw_until_idle()
    with company.database.write() as session:
        retry_failed(session, session.get_one(Batch, batch_id), company.now)
    company.draw_until_idle()

    assert company.counts(batch_id) == {"done": 1, "held": 2}


def test_two_workers_that_race_never_spend_more_than_is_in_flight(
    database: Database, company: Company
) -> None:
    images = 25
    batch_id = company.submit(200, images=images)
    over = threading.Event()

    def dispatch() -> None:
        while not over.is_set():
            company.dispatcher.tick(company.now)

    def work(worker: UUID) -> int:
        drawn = 0
        while not over.is_set():
            with database.write() as session:
                sent = select(Job.chunk_id).where(
                    Job.state == JobState.PENDING, Job.chunk_id.is_not(None)
                )
                chunk_id = session.scalar(sent.limit(1))
                leases = (
                    claim_chunk(session, chunk_id, worker, company.now, LEASE) if chunk_id else []
                )
            company.finish(leases)
            drawn += len(leases)
            if not leases:
                over.wait(0.05)
        return drawn

    def is_over() -> bool:
        counts = company.counts(batch_id)
        is_spent = counts.get("done", 0) >= images and not counts.keys() & {"pending", "leased"}
        return is_spent or ticking.done() or any(one.done() for one in drawn)

    with ThreadPoolExecutor(3) as pool:
        ticking = pool.submit(dispatch)
        drawn = [pool.submit(work, worker) for worker in company.workers]
        try:
            wait_until(is_over, seconds=40)
        finally:
            over.set()
    ticking.result()
    company.tick()

    assert sum(one.result() for one in drawn) == images
    assert company.counts(batch_id) == {"done": images, "held": 200 - images}


def test_the_command_shows_sets_and_lifts_budgets(
    database: Database, company: Company, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("TENSTEP_DATABASE_URL", url)
    batch_id = str(company.submit(4))

    [set_to] = shell.json("budget", batch_id, "--max-cost", "0.25")["budgets"]
    assert set_to["max_nanodollars"] == 250_000_000
    assert shell("budget", "--tenant", "anna", "--max-cost", "5", "--per", "month") == 0
    assert shell("budget") == 0
    assert "tenant anna, this month" in shell.out
    assert batch_id in shell.out
    assert "$0.250000" in shell.out
    assert shell("budget", batch_id, "--no-limit") == 0
    assert shell("budget", "--tenant", "anna", "--no-limit") == 0
    assert shell("budget") == 0
    assert "no budget is set" in shell.out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["BATCH", "--max-cost", "-1"], "--max-cost: -1 is negative"),
        (["BATCH", "--max-cost", "a lot"], "'a lot' is not a number of dollars"),
        (["BATCH", "--tenant", "anna"], "a batch or a --tenant, not both"),
        (["BATCH", "--max-cost", "1", "--no-limit"], "--max-cost or --no-limit, not both"),
        (["--max-cost", "1"], "whose budget?"),
        (["BATCH", "--max-cost", "1", "--per", "month"], "--per goes with --tenant"),
        (["--tenant", 200 * "a", "--max-cost", "1"], "--tenant:"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused_and_changes_nothing(
    sqlite_database: Database,
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    reason: str,
) -> None:
    url = sqlite_database.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("TENSTEP_DATABASE_URL", url)
    with sqlite_database.write() as session:
        batch_id = str(add_batch(session).id)

    asked = [batch_id if argument == "BATCH" else argument for argument in arguments]
    assert shell("budget", *asked) == 2
    assert reason in shell.err
    assert shell.json("budget") == {"budgets": []}
