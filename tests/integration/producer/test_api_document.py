"""What the OpenAPI document says is what the server does, whatever it is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from shared.domain.access import Scope
from shared.settings import Settings
from support.api import ApiServer, run_api
from support.api_routes import ROUTES, Route, one_of_everything, shape_of

EXAMPLES = 12
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SECONDS = 20


@pytest.fixture(scope="module")
def api(api_settings: Settings) -> Iterator[ApiServer]:
    """A server with somebody who draws, or images would be waited for in vain."""
    with run_api(api_settings) as server, server.drawing():
        yield server


@pytest.fixture(scope="module")
def document(api: ApiServer) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{api.url}/openapi.json")


@pytest.fixture(scope="module")
def secret(api: ApiServer) -> str:
    return api.new_key("somebody", *Scope)


@pytest.fixture(scope="module")
def things(api: ApiServer, secret: str) -> Mapping[str, str]:
    """One of everything; the batch has ended, or following it would never."""
    with api.client(secret) as client:
        made = one_of_everything(client)
        client.post(f"/api/batches/{made['batch_id']}/cancel", json={}).raise_for_status()
        key = client.post("/api/keys", json={"tenant": "another"}).raise_for_status().json()
    return {**made, "key_id": key["key_id"], "model": "emoji-64"}


@schemathesis.serializer("application/toml")
def _as_it_is(_context: schemathesis.SerializationContext, value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def test_every_reference_of_the_document_leads_somewhere(api: ApiServer) -> None:
    with api.client() as client:
        answer = client.get("/openapi.json")
    document = answer.json()

    assert document["openapi"].startswith("3.1")
    for reference in set(re.findall(r'"\$ref":"#/([^"]+)"', answer.text)):
        found = document
        for part in reference.split("/"):
            found = found[part]
        assert found


@pytest.mark.parametrize("route", [pytest.param(route, id=route.name) for route in ROUTES])
@pytest.mark.parametrize("has_key", [True, False])
def test_answers_are_those_that_are_documented(
    document: BaseSchema, secret: str, things: Mapping[str, str], route: Route, *, has_key: bool
) -> None:
    path = next(path for path in document if shape_of(path) == shape_of(route.path))
    operation = document[path][route.method]
    there = _of_what_is_there(path, things)
    asked = st.one_of(
        *(operation.as_strategy(mode) for mode in GenerationMode),
        *(operation.as_strategy(mode, path_parameters=there) for mode in GenerationMode if there),
    )
    sent = {"Authorization": f"Bearer {secret}"} if has_key else {}

    @settings(
        max_examples=EXAMPLES,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=asked)
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=dict(sent), checks=CHECKS, timeout=SECONDS)

    check()


def _of_what_is_there(path: str, things: Mapping[str, str]) -> dict[str, str]:
    """Give a path's parameters values that name something."""
    kind = "openai_" if path.startswith("/v1/") else ""
    return {
        name: things.get(f"{kind}{name}", things.get(name, ""))
        for name in re.findall(r"\{(\w+)\}", path)
    }
