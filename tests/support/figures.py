"""Figures that a live installation exports, and what is asked of them."""

from __future__ import annotations

import re
import time
from datetime import timedelta

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from shared.db.batches import hold_for_budget
from shared.db.claims import claim_chunk
from shared.db.device_faults import note_fault
from shared.db.fault_tables import DeviceFault
from shared.db.leadership import DISPATCHER, take_lead
from shared.db.lost_leases import release_worker
from shared.db.outcomes import record_failure
from shared.domain.access import Scope
from shared.domain.identifiers import new_id
from shared.domain.jobs import STORE_UNAVAILABLE
from support.api import ApiServer
from support.factories import LEASE, TIMES, add_batch, add_price, add_worker, dispatch

MODEL = "emoji-64"
SECRET_PROMPT = "a prompt that nobody may read in a figure"
PATIENCE_SECONDS = 40
MAX_ATTEMPTS = 4


def exported(server: ApiServer) -> str:
    """Have a little of everything happen, and return what Prometheus then reads."""
    secret = server.new_key("operators", Scope.ADMIN, Scope.SUBMIT, Scope.READ)
    with server.client(secret) as client:
        _draw(server, client)
        _wait_and_fail(server)
        client.get("/api/batches").raise_for_status()
        return client.get("/metrics").raise_for_status().text


def read(text: str) -> dict[str, Metric]:
    """Parse figures as Prometheus would; by the name of the family, without ``_total``."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def _draw(server: ApiServer, client: httpx.Client) -> None:
    """Have a worker draw a few images, and settle its books."""
    with server.drawing():
        request = {"prompts": [SECRET_PROMPT] * 3, "name": "a name", "tags": {"a": "tag"}}
        made = client.post("/api/batches", json=request).raise_for_status().json()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not client.get(f"/api/batches/{made['batch_id']}").json()["finished"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def _wait_and_fail(server: ApiServer) -> None:
    """Leave images pending, sent and leased, some failed, held and lost, and a device out."""
    with server.database.write() as session:
        now = server.database.now(session)
        add_price(session, effective_from=now - timedelta(days=1))
        worker, lost = add_worker(session, started_at=now), add_worker(session, started_at=now)
        batch = add_batch(session, jobs=9, model="tiny", created_at=now)
        add_batch(session, jobs=4, model=MODEL, created_at=now)
        leases = claim_chunk(session, dispatch(session, batch.id, jobs=3), worker.id, now, LEASE)
        for lease, retry_at in zip(leases, (now, None), strict=False):
            record_failure(
                session,
                lease,
                code=STORE_UNAVAILABLE,
                message=SECRET_PROMPT,
                retry_at=retry_at,
                times=TIMES,
                now=now,
            )
        claim_chunk(session, dispatch(session, batch.id, jobs=1), lost.id, now, LEASE)
        release_worker(session, lost.id, now, MAX_ATTEMPTS)
        dispatch(session, batch.id, jobs=2)
        hold_for_budget(session, batch, 1)
        take_lead(session, DISPATCHER, new_id(), now, timedelta(seconds=3))
        faulty = {"host": "a", "device": "qaic:0", "device_kind": "qaic", "device_sku": ""}
        seen = {"since": now, "last_seen": now, "reason": SECRET_PROMPT}
        note_fault(session, DeviceFault(**faulty, **seen, model="tiny"))


STRING = re.compile(r'"[^"]*"')
NAME = re.compile(r"\b(?:tenstep_\w+|up)\b(?!\s*\()")


def names_in(expression: str) -> set[str]:
    """Return the figures that an expression of PromQL asks for: all of ours begin alike."""
    return set(NAME.findall(STRING.sub("", expression)))
