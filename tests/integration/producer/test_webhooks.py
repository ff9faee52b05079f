"""Webhooks as tenants make them, and a server that calls them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from producer.webhooks.registry import MAX_WEBHOOKS
from shared.db.api_tables import Webhook
from shared.domain.access import Scope
from support.api import ApiServer
from support.commands import running, wait_until
from support.receiver import LOOPBACK, Receiver
from support.servers import free_port
from support.webhooks import soon

HOOK = {"url": "https://8.8.8.8:8443/hook?token=abc", "events": ["batch.finished"]}


def test_a_webhook_is_made_shown_tried_and_deleted(api: ApiServer) -> None:
    with api.client(api.new_key("anna", Scope.OPERATE)) as anna:
        made = anna.post("/api/webhooks", json=HOOK)
        assert made.status_code == 201
        webhook = made.json()
        secret = webhook.pop("secret")
        assert secret.startswith("whsec_")
        path = f"/api/webhooks/{webhook['webhook_id']}"
        tried = anna.post(f"{path}/test")
        assert tried.status_code == 202
        assert anna.get("/api/webhooks").json() == {"webhooks": [webhook]}
        assert secret not in anna.get("/api/webhooks").text
        assert anna.get(f"{path}/deliveries").json() == {"deliveries": [tried.json()]}
        assert tried.json()["type"] == "webhook.test"
        assert tried.json()["state"] == "pending"

        with api.client(api.new_key("bob")) as bob:
            assert bob.get("/api/webhooks").json() == {"webhooks": []}
            assert bob.delete(path).status_code == 404
            assert bob.get(f"{path}/deliveries").status_code == 404
            assert bob.post(f"{path}/test").status_code == 404
        with api.client(api.new_key("anna", Scope.READ, Scope.SUBMIT)) as reader:
            assert reader.get("/api/webhooks").status_code == 403
            assert reader.post("/api/webhooks", json=HOOK).status_code == 403

        assert anna.delete(path).status_code == 204
        assert anna.delete(path).status_code == 404
        assert anna.get("/api/webhooks").json() == {"webhooks": []}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "https://127.0.0.1/hook"},
        {"url": "http://8.8.8.8/hook"},
        {"url": "https://localhost./hook"},
        {"url": "https://anna:secret@8.8.8.8/"},
        {"url": "https://8.8.8.8/", "events": ["batch.made"]},
        {"url": "https://8.8.8.8/", "secret": "whsec_mine"},
        {"url": "https://8.8.8.8/" + "a" * 2_048},
    ],
)
def test_a_webhook_that_may_not_be_is_refused(api: ApiServer, body: Any) -> None:
    with api.client(api.new_key("carol", Scope.OPERATE)) as carol:
        answer = carol.post("/api/webhooks", json=body)

        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert carol.get("/api/webhooks").json() == {"webhooks": []}


def test_a_tenant_has_a_limited_number_of_them(api: ApiServer) -> None:
    with api.client(api.new_key("dora", Scope.OPERATE)) as dora:
        statuses = [
            dora.post("/api/webhooks", json=HOOK).status_code for _ in range(MAX_WEBHOOKS + 1)
        ]

    assert statuses == [201] * MAX_WEBHOOKS + [422]


def test_a_disabled_webhook_is_not_tried(api: ApiServer) -> None:
    with api.client(api.new_key("emil", Scope.OPERATE)) as emil:
        webhook_id = emil.post("/api/webhooks", json=HOOK).json()["webhook_id"]
        with api.database.write() as session:
            webhook = session.get_one(Webhook, UUID(webhook_id))
            webhook.disabled_at = api.database.now(session)

        assert emil.post(f"/api/webhooks/{webhook_id}/test").status_code == 409
        assert emil.get("/api/webhooks").json()["webhooks"][0]["disabled_at"] is not None


def test_a_server_that_is_started_calls_webhooks(tmp_path: Path, receiver: Receiver) -> None:
    environment = {
        **os.environ,
        "TENSTEP_DATA_DIR": str(tmp_path / "data"),
        "TENSTEP_WEBHOOKS_TO_PRIVATE_ADDRESSES": "true",
    }
    port = free_port()
    with (
        running(environment, "serve", "--port", str(port), cwd=tmp_path),
        httpx.Client(base_url=f"http://{LOOPBACK}:{port}") as client,
    ):
        wait_until(lambda: answers(client))
        made = client.post("/api/webhooks", json={"url": receiver.url}).raise_for_status()
        webhook = made.json()
        client.post(f"/api/webhooks/{webhook['webhook_id']}/test").raise_for_status()
        soon(lambda: len(receiver.calls) == 1)

    assert receiver.calls[0].event(webhook["secret"])["type"] == "webhook.test"


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False
