"""What webhooks are told of: each end of a batch once, and each time that its money is spent."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from producer.batch_options import BatchOptions
from producer.batch_requests import Asked, ask
from producer.budgets import set_batch_budget, set_tenant_budget
from producer.control import retry
from producer.webhooks import announce
from producer.webhooks.announce import Announcer
from producer.webhooks.registry import register
from shared.db.api_tables import BatchRequest, WebhookDelivery
from shared.db.batches import cancel_batch, hold_for_budget
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.outcomes import record_done, record_failure
from shared.db.tables import Batch
from shared.domain.budgets import BudgetPeriod
from shared.domain.requests import RequestState
from shared.settings import Settings
from support.factories import IMAGE, LEASE, START, TIMES, add_batch, add_price, add_worker, dispatch

SETTINGS = Settings(webhooks_to_private_addresses=True)
URL = "http://127.0.0.1:9/hook"
IMAGE_COST = 11_111
"""Nano-dollars: a second at the factories' price."""
SECOND = timedelta(seconds=1)


@dataclass
class Studio:
    """A tenant with batches, a worker, and servers that look what there is to tell."""

    database: Database
    tenant: str = "anna"
    workers: list[UUID] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.announcer = Announcer(self.database)
        with self.database.write() as session:
            add_price(session)
            self.workers = [add_worker(session).id]

    def listen(self, *events: Any, tenant: str | None = None) -> UUID:
        webhook, _ = register(self.database, SETTINGS, tenant or self.tenant, URL, events)
        return UUID(webhook["webhook_id"])

    def submit(self, jobs: int = 2, most: int | None = None) -> UUID:
        with self.database.write() as session:
            batch = add_batch(session, jobs=jobs)
            batch.tenant, batch.max_nanodollars = self.tenant, most
            batch.tags = {"campaign": "spring"}
            return batch.id

    def draw(self, batch_id: UUID, jobs: int | None = None, *, fails: bool = False) -> None:
        with self.database.write() as session:
            chunk = dispatch(session, batch_id, jobs=jobs)
            for lease in claim_chunk(session, chunk, self.workers[0], START, LEASE):
                if fails:
                    record_failure(
                        session,
                        lease,
                        code="broken",
                        message="it broke",
                        retry_at=None,
                        times=TIMES,
                        now=START + SECOND,
                    )
                else:
                    record_done(session, lease, IMAGE, TIMES, {}, START + SECOND)

    def ask(self, endpoint: str | None = None) -> UUID:
        with self.database.write() as session:
            now = self.database.now(session)
            options = BatchOptions(name="asked")
            asked = Asked(
                tenant=self.tenant,
                input_file_id=uuid4(),
                prompt_format=None,
                options=options,
                endpoint=endpoint,
            )
            return ask(session, SETTINGS, asked, now).id

    def end_request(self, request_id: UUID, state: RequestState, **values: Any) -> None:
        with self.database.write() as session:
            request = session.get_one(BatchRequest, request_id)
            request.state, request.ended_at = state, self.database.now(session)
            for name, value in values.items():
                setattr(request, name, value)

    def told(self, webhook_id: UUID | None = None) -> Sequence[tuple[str, UUID | None]]:
        """Look, and return all that was ever told, or is to be told, in order."""
        self.announcer.look()
        return [(one.event_type, one.batch_id) for one in self.deliveries(webhook_id)]

    def deliveries(self, webhook_id: UUID | None = None) -> Sequence[WebhookDelivery]:
        query = select(WebhookDelivery).order_by(WebhookDelivery.event_id)
        if webhook_id is not None:
            query = query.where(WebhookDelivery.webhook_id == webhook_id)
        with self.database.read() as session:
            return session.scalars(query).all()


@pytest.fixture
def studio(database: Database) -> Studio:
    return Studio(database)


def test_the_end_of_a_batch_is_told_once_however_many_servers_look(studio: Studio) -> None:
    webhook_ids = {studio.listen(), studio.listen()}
    batch_ids = [studio.submit() for _ in range(4)]
    assert studio.told() == []
    for batch_id in batch_ids:
        studio.draw(batch_id, fails=batch_id == batch_ids[0])

    servers = [Announcer(studio.database) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Announcer.look, servers * 3))

    deliveries = studio.deliveries()
    assert {(one.webhook_id, one.batch_id) for one in deliveries} == {
        (webhook_id, batch_id) for webhook_id in webhook_ids for batch_id in batch_ids
    }
    assert len(deliveries) == 8
    assert len({one.event_id for one in deliveries}) == 4, "an event has one id for all"
    assert {one.event_type for one in deliveries} == {"batch.finished"}
    payload = next(one.payload for one in deliveries if one.batch_id == batch_ids[1])
    assert payload.keys() == {"type", "timestamp", "data"}
    assert payload["data"] | {"created_at": None} == {
        "batch_id": str(batch_ids[1]),
        "name": "a batch",
        "tenant": "anna",
        "model": "tiny",
        "priority": 0,
        "state": "finished",
        "control": "active",
        "created_at": None,
        "total": 2,
        "counts": dict.fromkeys(("pending", "leased", "failed", "cancelled", "held"), 0)
        | {"done": 2},
        "cost_nanodollars": 2 * IMAGE_COST,
        "cost_usd": "0.000022222",
        "max_cost_usd": None,
        "tags": {"campaign": "spring"},
        "errors": [],
        "output_file_id": None,
        "error_file_id": None,
    }


def test_a_batch_that_goes_on_is_not_told_of(studio: Studio) -> None:
    studio.listen()
    half = studio.submit()
    studio.draw(half, 1)
    with studio.database.write() as session:
        being_written = add_batch(session, jobs=0)
        being_written.tenant, being_written.submitted_at = studio.tenant, None

    assert studio.told() == []


def test_of_many_open_batches_all_are_looked_at_in_turn(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announce, "AT_ONCE", 2)
    ended = set()
    for tenant in ("anna", "bob", "carol"):
        studio.tenant = tenant
        studio.listen()
        batch_ids = [studio.submit(jobs=1) for _ in range(3)]
        studio.draw(batch_ids[-1])
        ended.add(batch_ids[-1])

    for _ in range(5):
        told = studio.told()

    assert {batch_id for _, batch_id in told} == ended
    assert len(told) == 3


def test_called_off_is_another_end(studio: Studio) -> None:
    studio.listen()
    batch_id = studio.submit()
    with studio.database.write() as session:
        cancel_batch(session, session.get_one(Batch, batch_id), START)

    assert studio.told() == [("batch.cancelled", batch_id)]


def test_a_batch_that_is_tried_again_has_another_end(studio: Studio) -> None:
    studio.listen()
    batch_id = studio.submit()
    studio.draw(batch_id, fails=True)
    assert studio.told() == [("batch.finished", batch_id)]
    with studio.database.write() as session:
        assert retry(session, session.get_one(Batch, batch_id), [], START) == 2
    assert studio.told() == [("batch.finished", batch_id)]

    with studio.database.write() as session:
        dispatch_at = START + SECOND
        chunk = dispatch(session, batch_id, now=dispatch_at)
        for lease in claim_chunk(session, chunk, studio.workers[0], dispatch_at, LEASE):
            record_done(session, lease, IMAGE, TIMES, {}, dispatch_at + SECOND)

    assert studio.told() == [("batch.finished", batch_id)] * 2


def test_a_webhook_is_told_of_what_was_open_and_of_what_came_later(studio: Studio) -> None:
    ended, still_open = studio.submit(), studio.submit()
    ended_later = studio.submit()
    studio.draw(ended)
    studio.draw(ended_later)
    webhook_id = studio.listen()
    new = studio.submit()
    studio.draw(still_open)
    studio.draw(new)

    assert set(studio.told(webhook_id)) == {
        ("batch.finished", still_open),
        ("batch.finished", new),
    }


def test_a_second_webhook_takes_nothing_from_the_first(studio: Studio) -> None:
    first = studio.listen()
    batch_id = studio.submit()
    studio.draw(batch_id)
    studio.listen()

    assert studio.told(first) == [("batch.finished", batch_id)]


def test_a_webhook_hears_of_its_own_tenant_and_of_what_it_asked_for(studio: Studio) -> None:
    stranger = studio.listen(tenant="bob")
    of_budgets = studio.listen("batch.budget_spent")
    batch_id = studio.submit()
    studio.draw(batch_id)

    assert studio.told(stranger) == []
    assert studio.told(of_budgets) == []


def test_a_file_of_which_nothing_could_be_taken_is_told_of(studio: Studio) -> None:
    studio.listen()
    failed, called_off, taken_in = studio.ask(), studio.ask(), studio.ask()
    assert studio.told() == []
    errors = {"data": [{"code": "refused", "message": "no line is good"}]}
    studio.end_request(failed, RequestState.FAILED, errors=errors)
    studio.end_request(called_off, RequestState.CANCELLED)
    studio.end_request(taken_in, RequestState.COMPLETED, in_progress_at=START)

    told = [("batch.failed", failed), ("batch.cancelled", called_off)]
    assert studio.told() == told
    assert studio.told() == told
    assert studio.deliveries()[0].payload["data"]["errors"] == errors["data"]


def test_files_of_results_are_there_when_the_end_is_told(studio: Studio) -> None:
    studio.listen()
    request_id, file_id = studio.ask("/v1/images/generations"), uuid4()
    with studio.database.write() as session:
        batch = add_batch(session)
        batch_id, batch.tenant = batch.id, studio.tenant
        # As the clerk does: the batch has the id of what was asked for.
        request = session.get_one(BatchRequest, request_id)
        request.id, request.in_progress_at = batch_id, START
    studio.draw(batch_id)
    assert studio.told() == []

    studio.end_request(batch_id, RequestState.EXPIRED, output_file_id=file_id)

    assert studio.told() == [("batch.expired", batch_id)]
    assert studio.deliveries()[0].payload["data"]["output_file_id"] == str(file_id)


def test_spent_money_is_told_of_once_until_there_was_more(studio: Studio) -> None:
    studio.listen()
    batch_id = studio.submit(jobs=4, most=IMAGE_COST)
    spent = ("batch.budget_spent", batch_id)
    studio.draw(batch_id, 1)
    hold_all(studio, batch_id)
    assert studio.told() == [spent]
    assert studio.told() == [spent]
    assert studio.deliveries()[0].payload["data"]["budget"] == {
        "of": "batch",
        "max_nanodollars": IMAGE_COST,
        "max_usd": "0.000011111",
        "spent_nanodollars": IMAGE_COST,
        "spent_usd": "0.000011111",
    }

    with studio.database.write() as session:
        set_batch_budget(session, session.get_one(Batch, batch_id), 2 * IMAGE_COST)
    assert studio.told() == [spent], "its jobs are held, but not for long"

    with studio.database.write() as session:
        set_batch_budget(session, session.get_one(Batch, batch_id), IMAGE_COST - 1)
    assert studio.told() == [spent] * 2


def test_the_money_of_a_tenant_is_told_of_too_and_anew_when_it_was_changed(
    studio: Studio,
) -> None:
    studio.listen()
    batch_id = studio.submit(jobs=2)
    spent = ("batch.budget_spent", batch_id)
    studio.draw(batch_id, 1)
    set_money(studio, IMAGE_COST)
    hold_all(studio, batch_id)
    assert studio.told() == [spent]
    assert studio.deliveries()[0].payload["data"]["budget"]["of"] == "tenant"

    set_money(studio, IMAGE_COST - 1)

    assert studio.told() == [spent] * 2


def test_a_monthly_budget_is_told_of_each_month(studio: Studio) -> None:
    studio.listen()
    batch_id = studio.submit(jobs=2)
    spent = ("batch.budget_spent", batch_id)
    set_money(studio, 0, BudgetPeriod.MONTH)
    hold_all(studio, batch_id)
    assert studio.told() == [spent]

    with studio.database.write() as session:
        batch = session.get_one(Batch, batch_id)
        batch.budget_announced_at = studio.database.now(session) - timedelta(days=32)

    assert studio.told() == [spent] * 2


def hold_all(studio: Studio, batch_id: UUID) -> None:
    with studio.database.write() as session:
        assert hold_for_budget(session, session.get_one(Batch, batch_id), 100)


def set_money(studio: Studio, most: int, period: BudgetPeriod = BudgetPeriod.EVER) -> None:
    with studio.database.write() as session:
        set_tenant_budget(session, studio.tenant, most, period, studio.database.now(session))
