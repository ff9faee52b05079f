"""The page of the fleet: what workers do, why not, and who may see and decide it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from shared.db.claims import claim_chunk
from shared.db.device_faults import clear_fault, note_fault
from shared.db.fault_tables import DeviceFault
from shared.db.tables import Batch, Worker
from shared.domain.access import Scope
from shared.domain.jobs import BatchControl
from support.api import ApiServer
from support.factories import LEASE, add_batch, add_price, add_worker, dispatch
from support.visits import Visit, rows_of, visiting

HOST = '<b id="host">&"'
PRICE = 3_600_000_000


@pytest.fixture(scope="module")
def workers(api: ApiServer) -> dict[str, UUID]:
    """One that draws, one that has nothing to do, one that has ended and one that is silent."""
    with api.database.write() as session:
        now = api.database.now(session)
        add_price(session, nanodollars_per_hour=PRICE, effective_from=now - timedelta(days=1))
        batch = add_batch(session, jobs=2, created_at=now)
        found = {}
        for name in ("draws", "idle", "ended", "silent"):
            worker = add_worker(session, started_at=now)
            worker.host, worker.polled_at = f"{name}{HOST}", now + timedelta(hours=1)
            worker.heartbeat_at = now + timedelta(hours=1)
            found[name] = worker.id
        ended = session.get_one(Worker, found["ended"])
        ended.stopped_at = now
        silent = session.get_one(Worker, found["silent"])
        silent.heartbeat_at = now - timedelta(hours=1)
        chunk = dispatch(session, batch.id, now=now)
        claim_chunk(session, chunk, found["draws"], now, LEASE * 100)
    return found


@pytest.fixture
def visit(api: ApiServer, workers: dict[str, UUID]) -> Iterator[Visit]:
    del workers
    with visiting(api, api.new_key("operator", Scope.ADMIN)) as visit:
        yield visit


def test_workers_are_told_of_with_what_they_do_and_what_they_cost_an_hour(visit: Visit) -> None:
    text = visit.page("/fleet").text
    assert "2 workers alive: 1 drawing, 1 idle, 0 drained" in text
    assert "$7.20 an hour" in text
    assert "Nothing is queued for its model." in text
    assert f"silent{HOST}" in text
    assert f"ended{HOST}" not in text
    assert f"ended{HOST}" in visit.page("/fleet?ended=true").text


def test_a_sparkline_says_its_average_to_whoever_cannot_see_it(visit: Visit) -> None:
    lines = visit.page("/fleet").all("svg", class_="spark")
    assert [line.attributes["aria-label"] for line in lines] == [
        "Busy 0 % of the last hour on average"
    ] * 3


def test_a_worker_whose_batches_are_paused_says_so(api: ApiServer, visit: Visit) -> None:
    with api.database.write() as session:
        batch = add_batch(session, jobs=1, created_at=api.database.now(session))
        batch.control = BatchControl.PAUSED
        paused = batch.id
    assert "Whatever waits for its model is paused." in visit.page("/fleet").text
    with api.database.write() as session:
        session.get_one(Batch, paused).control = BatchControl.ACTIVE
    assert "Jobs of its model wait for a dispatcher" in visit.page("/fleet").text
    with api.database.write() as session:
        session.get_one(Batch, paused).control = BatchControl.CANCELLED


def test_buttons_drain_a_worker_and_have_it_go_on(
    api: ApiServer, visit: Visit, workers: dict[str, UUID]
) -> None:
    idle = workers["idle"]
    answer = visit.post(f"/fleet/{idle}/drain")
    assert answer.headers["location"] == "/fleet"
    assert "1 drawing, 0 idle, 1 drained" in visit.page("/fleet").text
    assert "Resume" in visit.page("/fleet").buttons
    visit.post(f"/fleet/{idle}/resume")
    with api.database.read() as session:
        assert not session.get_one(Worker, idle).draining


def test_who_is_told_to_end_or_is_not_there_is_not_decided_about(
    api: ApiServer, visit: Visit, workers: dict[str, UUID]
) -> None:
    before = rows_of(api)
    visit.post(f"/fleet/{uuid4()}/drain", 404)
    visit.post(f"/fleet/{workers['ended']}/drain", 422)
    visit.post(f"/fleet/{workers['idle']}/stop", 422)
    assert rows_of(api) == before


def test_the_fleet_is_an_administrators(api: ApiServer, workers: dict[str, UUID]) -> None:
    with visiting(api, api.new_key("studio")) as tenant:
        before = rows_of(api)
        for path in ("/fleet", "/fleet/live"):
            assert HOST not in tenant.get(path, 403).text
        tenant.post(f"/fleet/{workers['idle']}/drain", 403)
        assert rows_of(api) == before


def test_the_live_part_is_sent_as_an_event(visit: Visit) -> None:
    with visit.client.stream("GET", "/fleet/live") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: workers"
        assert any("alive: 1 drawing" in line for line in lines)


def test_devices_that_were_taken_out_are_listed_apart_with_the_reason(
    api: ApiServer, visit: Visit
) -> None:
    assert "taken out" not in visit.page("/fleet").text
    with api.database.write() as session:
        now = api.database.now(session)
        fault = DeviceFault(
            host=HOST,
            device="qaic:3",
            device_kind="qaic",
            device_sku="ai100-std",
            model="tiny",
            since=now,
            last_seen=now,
            reason="its status is Error",
        )
        note_fault(session, fault)
    text = visit.page("/fleet").text
    assert "Devices that were taken out" in text
    assert f"{HOST} · qaic:3" in text
    assert "its status is Error" in text
    with api.database.write() as session:
        clear_fault(session, HOST, "qaic:3")
