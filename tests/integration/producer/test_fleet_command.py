"""``tenstep fleet``, beside the database and through a server."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.db.claims import claim_chunk
from shared.db.device_faults import clear_fault, note_fault
from shared.db.fault_tables import DeviceFault
from shared.db.tables import Worker
from shared.domain.access import Scope
from support.api import ApiServer
from support.commands import TENSTEP
from support.factories import LEASE, add_batch, add_price, add_worker, dispatch
from support.shell import Shell

PRICE = 3_600_000_000
REASON = "its status is Error"


def add_fault(session: Session, host: str, device: str) -> None:
    now = utc_now()
    note_fault(
        session,
        DeviceFault(
            host=host,
            device=device,
            device_kind="qaic",
            device_sku="ai100-std",
            model="tiny",
            since=now,
            last_seen=now,
            reason=REASON,
        ),
    )


@pytest.fixture(scope="module")
def workers(api: ApiServer) -> Mapping[str, Worker]:
    """One that draws, one that is drained, one that is silent; and a card that is out."""
    with api.database.write() as session:
        now = api.database.now(session)
        add_price(session, nanodollars_per_hour=PRICE, effective_from=now - timedelta(days=1))
        found = {}
        for name in ("draws", "drained", "silent"):
            worker = add_worker(session, started_at=now)
            worker.host, worker.device = "box-1", f"cpu:{name}"
            worker.heartbeat_at = worker.polled_at = now + timedelta(hours=1)
            found[name] = worker
        found["drained"].draining = True
        found["silent"].heartbeat_at = now - timedelta(hours=1)
        batch = add_batch(session, jobs=2, created_at=now)
        claim_chunk(
            session, dispatch(session, batch.id, now=now), found["draws"].id, now, LEASE * 100
        )
        add_fault(session, "box-2", "qaic:11")
        add_fault(session, "box-2", "qaic:2")
    return found


@pytest.fixture(params=["database", "server"])
def fleet(
    request: pytest.FixtureRequest,
    shell: Shell,
    api: ApiServer,
    workers: Mapping[str, Worker],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], Any]:
    """Look at the fleet as JSON, beside the database or through the server."""
    if request.param == "server":
        monkeypatch.setenv("TENSTEP_SERVER", api.url)
    else:
        monkeypatch.setenv("TENSTEP_DATA_DIR", str(api.settings.data_dir))
    return lambda: shell.json("fleet")


def test_each_device_is_told_of_with_what_it_does_and_costs(fleet: Callable[[], Any]) -> None:
    document = fleet()
    states = {worker["device"]: worker["state"] for worker in document["workers"]}
    assert states == {"cpu:draws": "drawing", "cpu:drained": "drained", "cpu:silent": "silent"}
    drawing = next(worker for worker in document["workers"] if worker["state"] == "drawing")
    assert (drawing["host"], drawing["model"], drawing["device_kind"]) == ("box-1", "tiny", "cpu")
    assert (drawing["usd_per_hour"], drawing["cost_usd"]) == ("3.600000000", "0.000000000")
    assert [fault["device"] for fault in document["faults"]] == ["qaic:11", "qaic:2"]
    assert {kind["device_kind"]: kind for kind in document["kinds"]} == {
        "cpu": {
            "device_kind": "cpu",
            "alive": 2,
            "drawing": 1,
            "faulty": 0,
            "images_per_second": 0.0,
            "busy_share": 0.0,
            "usd_per_hour": "7.200000000",
        },
        "qaic": {
            "device_kind": "qaic",
            "alive": 0,
            "drawing": 0,
            "faulty": 2,
            "images_per_second": 0.0,
            "busy_share": 0.0,
            "usd_per_hour": "0.000000000",
        },
    }


def test_the_table_fits_a_terminal_and_has_faulty_devices_in_order(
    fleet: Callable[[], Any], shell: Shell
) -> None:
    assert shell("fleet") == 0
    lines = shell.out.splitlines()
    assert max(map(len, lines)) <= 80
    words = [line.split() for line in lines]
    assert [line[0] for line in words if "faulty" in line] == ["qaic:2", "qaic:11"]
    assert shell.out.index("box-1") < shell.out.index("box-2") < shell.out.index(REASON)
    assert "cpu: 2 alive, 1 drawing; 0.00 images/s, busy 0%, $7.2000 an hour" in lines


def test_a_fault_is_forgotten_when_the_device_works_or_nobody_tries_it_any_more(
    fleet: Callable[[], Any], api: ApiServer
) -> None:
    with api.database.write() as session:
        clear_fault(session, "box-2", "qaic:2")
        old = session.get_one(DeviceFault, ("box-2", "qaic:11"))
        old.last_seen -= timedelta(days=2)
        since = old.since
    assert fleet()["faults"] == []
    with api.database.write() as session:
        add_fault(session, "box-2", "qaic:2")
        add_fault(session, "box-2", "qaic:11")
    with api.database.read() as session:
        assert session.get_one(DeviceFault, ("box-2", "qaic:11")).since == since


def test_it_can_be_watched_line_by_line_until_interrupted(
    api: ApiServer, workers: Mapping[str, Worker]
) -> None:
    process = subprocess.Popen(
        [TENSTEP, "fleet", "--watch", "--interval", "0.5", "--json"],
        env={"TENSTEP_DATA_DIR": str(api.settings.data_dir), "PATH": sys.exec_prefix},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline().startswith('{"workers": [')
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_a_key_of_a_tenant_does_not_see_the_fleet(api: ApiServer) -> None:
    """The last one: from the first key on everybody needs one."""
    api.new_key("operator", Scope.ADMIN)
    with api.client(api.new_key("acme", Scope.OPERATE)) as client:
        assert client.get("/api/fleet").status_code == 403
