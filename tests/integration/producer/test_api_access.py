"""Every route, as whoever might come: without a key, with a wrong one, with somebody else's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta

import httpx
import pytest

from producer.keys import create_key, revoke_key
from shared.domain.access import OF_A_TENANT, Scope
from support.api import ApiServer
from support.api_routes import (
    ROUTES,
    SHARED,
    Route,
    nothing,
    one_of_everything,
    shape_of,
)

OWNER, OTHER = "owner", "other"
ID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
GUARDED = [route for route in ROUTES if route.scope is not None]
OF_TENANTS = [route for route in GUARDED if route.scope is not Scope.ADMIN]
OF_SOMETHING = [
    route for route in OF_TENANTS if route.is_about_something and route.name not in SHARED
]
LISTS = [route for route in OF_TENANTS if route.method == "GET" and not route.is_about_something]


def named(routes: list[Route]) -> list[object]:
    return [pytest.param(route, id=route.name) for route in routes]


@pytest.fixture(scope="module")
def owned(api: ApiServer) -> Mapping[str, str]:
    """One of everything, of one tenant."""
    with api.client(api.new_key(OWNER)) as client:
        return one_of_everything(client)


@pytest.fixture(scope="module")
def stranger(api: ApiServer) -> Iterator[httpx.Client]:
    """Somebody with a key of another tenant that allows all that a tenant's may."""
    with api.client(api.new_key(OTHER)) as client:
        yield client


def test_the_list_of_routes_here_is_that_of_the_server(api: ApiServer) -> None:
    with api.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    documented = {
        f"{method.upper()} {shape_of(path)}"
        for path, methods in paths.items()
        for method in methods
    }
    assert {f"{route.method} {shape_of(route.path)}" for route in ROUTES} == documented


@pytest.mark.parametrize("route", named(GUARDED))
def test_without_a_key_nobody_gets_in(
    api: ApiServer, owned: Mapping[str, str], route: Route
) -> None:
    with api.client() as client:
        answer = route.send(client, owned)
    _assert_refused(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("route", named(GUARDED))
def test_keys_that_are_wrong_revoked_or_expired_open_nothing(
    api: ApiServer, owned: Mapping[str, str], bad_keys: Mapping[str, str], route: Route
) -> None:
    for secret in bad_keys.values():
        with api.client(secret) as client:
            _assert_refused(route.send(client, owned), 401)


@pytest.fixture(scope="module")
def bad_keys(api: ApiServer) -> Mapping[str, str]:
    with api.database.write() as session:
        now = api.database.now(session)
        everything = frozenset(Scope)
        revoked, secret = create_key(session, OWNER, "revoked", everything, now)
        revoke_key(session, revoked.id, now)
        past = now - timedelta(days=2)
        _, expired = create_key(
            session, OWNER, "expired", everything, past, expires_at=past + timedelta(days=1)
        )
    return {"wrong": "tsk_wrong", "revoked": secret, "expired": expired, "altered": f"{secret}x"}


@pytest.mark.parametrize("route", named(GUARDED))
def test_a_key_with_every_other_scope_is_too_small(
    api: ApiServer, owned: Mapping[str, str], route: Route
) -> None:
    scopes = [scope for scope in OF_A_TENANT if scope is not route.scope]
    with api.client(api.new_key(OWNER, *scopes)) as client:
        _assert_refused(route.send(client, owned), 403)


@pytest.mark.parametrize("route", named(OF_SOMETHING))
def test_what_is_somebody_elses_is_not_there(
    stranger: httpx.Client, owned: Mapping[str, str], route: Route
) -> None:
    answer = route.send(stranger, owned)
    _assert_refused(answer, 404)
    # Nor can it be told from what never was.
    again = route.send(stranger, nothing())
    assert ID.sub("…", again.text) == ID.sub("…", answer.text)


@pytest.mark.parametrize("route", named(LISTS))
def test_lists_have_nothing_of_somebody_else(
    stranger: httpx.Client, owned: Mapping[str, str], route: Route
) -> None:
    answer = route.send(stranger, owned)
    assert answer.status_code == 200
    assert not [name for name, value in owned.items() if len(value) > 8 and value in answer.text]
    assert OWNER not in answer.text


def test_a_tenant_cannot_ask_for_somebody_elses_costs(stranger: httpx.Client) -> None:
    answer = stranger.get("/api/costs", params={"tenant": OWNER}).raise_for_status()

    assert answer.json()["tenant"] == OTHER


def test_the_owner_gets_all_of_it(api: ApiServer, owned: Mapping[str, str]) -> None:
    with api.client(api.new_key(OWNER)) as client:
        for route in OF_SOMETHING:
            if route.method == "GET" and not route.path.endswith(("/events", "/image")):
                assert route.send(client, owned).status_code == 200, route.name


def test_an_admin_sees_what_is_everybodys(api: ApiServer, owned: Mapping[str, str]) -> None:
    with api.client(api.new_key("operators", Scope.ADMIN)) as client:
        found = client.get(f"/api/batches/{owned['batch_id']}").raise_for_status().json()
    assert found["tenant"] == OWNER


def _assert_refused(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status, answer.text
    if answer.request.url.path.startswith("/v1/"):
        assert answer.json()["error"]["message"]
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
