"""While no key was made, the server can be used from its own host, and by programs alone."""

from __future__ import annotations

import asyncio

import pytest

from producer.api.keyring import KeyRing
from producer.api.problems import ApiError
from shared.db.engine import Database
from support.api import ApiServer

PROMPTS = {"prompts": ["a red apple"]}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Host": "evil.example"}, id="a name that was made to point here"),
        pytest.param({"Origin": "https://evil.example"}, id="a page of some site in a browser"),
        pytest.param({"Origin": "null"}, id="a page of a file"),
        pytest.param({"X-Forwarded-For": "127.0.0.1"}, id="somebody behind a proxy"),
        pytest.param({"Forwarded": "for=127.0.0.1"}, id="the same, by the standard"),
        pytest.param({"Via": "1.1 proxy"}, id="a proxy that tells nothing"),
    ],
)
def test_what_only_seems_to_be_local_is_refused(api: ApiServer, headers: dict[str, str]) -> None:
    with api.client() as client:
        refused = client.post("/api/batches", json=PROMPTS, headers=headers)

    assert refused.status_code == 401
    assert "its own host alone" in refused.json()["detail"]
    assert "tenstep keys create" in refused.json()["hint"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST:8080", "[::1]:9"])
def test_a_program_on_this_host_needs_no_key(api: ApiServer, host: str) -> None:
    with api.client() as client:
        answer = client.get("/api/workers", headers={"Host": host})

    assert answer.status_code == 200


def test_a_client_that_cannot_do_without_a_key_may_send_any(api: ApiServer) -> None:
    with api.client("sk-anything") as client:
        assert client.get("/v1/models").status_code == 200


def test_a_page_that_was_served_from_here_may_ask(api: ApiServer) -> None:
    with api.client() as client:
        assert client.get("/api/batches", headers={"Origin": api.url}).status_code == 200


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7", "testclient"])
def test_who_comes_from_elsewhere_needs_a_key(sqlite_database: Database, address: str) -> None:
    scope = {
        "type": "http",
        "client": (address, 4_242),
        "headers": [(b"host", b"127.0.0.1")],
    }

    with pytest.raises(ApiError, match="its own host alone"):
        asyncio.run(KeyRing(sqlite_database).principal(scope))
