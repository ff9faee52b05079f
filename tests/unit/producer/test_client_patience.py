"""The Python client without a network: where keys may go, and how long it waits."""

from __future__ import annotations

import httpx
import pytest

from producer.client import AsyncClient, Client, Patience
from producer.client.operations import models
from producer.client.retries import patiently
from producer.client.steps import Emit, Pause, Send, only_result
from shared.errors import InputError, ServiceUnavailableError

KEY = "tsk_a-secret"


@pytest.mark.parametrize(
    "server",
    [
        "http://127.0.0.1:8000",
        "http://localhost",
        "http://[::1]:8080",
        "https://tenstep.example/below/",
    ],
)
def test_a_key_may_go_to_this_host_and_over_https(server: str) -> None:
    with Client(server, KEY) as client:
        assert client.server == server.rstrip("/")
        assert KEY not in repr(client)


@pytest.mark.parametrize(
    "server", ["http://tenstep.example", "http://10.0.0.1", "http://128.0.0.1"]
)
def test_a_key_goes_over_plain_http_only_if_somebody_says_so(server: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(InputError, match="plain HTTP") as error:
            kind(server, KEY)
        assert KEY not in f"{error.value} {error.value.hint}"
    Client(server, KEY, allow_insecure=True).close()
    Client(server).close()


@pytest.mark.parametrize(
    "server",
    ["tenstep.example", "", "ftp://tenstep.example", "https://", "https://a:b@c", "http://[::1"],
)
def test_what_is_no_address_is_refused(server: str) -> None:
    with pytest.raises(InputError) as error:
        Client(server)
    assert "a:b" not in error.value.message


def test_pauses_grow_and_a_server_may_ask_for_longer_ones() -> None:
    steps = patiently(only_result(models()), Patience(tries=4, first_seconds=1, most_seconds=10))
    busy = httpx.Response(503, request=httpx.Request("GET", "http://a/"))
    asks = httpx.Response(429, headers={"Retry-After": "7"}, request=busy.request)
    fine = httpx.Response(200, json={"models": []}, request=busy.request)

    assert isinstance(next(steps), Send)
    assert steps.send(busy) == Pause(1)
    assert isinstance(steps.send(None), Send)
    assert steps.throw(httpx.ReadError("reset")) == Pause(2)
    assert isinstance(steps.send(None), Send)
    assert steps.send(asks) == Pause(7)
    assert isinstance(steps.send(None), Send)
    assert isinstance(steps.send(fine), Emit)


def test_the_last_try_is_the_last() -> None:
    steps = patiently(only_result(models()), Patience(tries=1))
    next(steps)

    with pytest.raises(ServiceUnavailableError, match="reset"):
        steps.throw(httpx.ReadError("reset"))
