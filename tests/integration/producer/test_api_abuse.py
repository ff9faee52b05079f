"""Ten thousand requests that no client should send leave the server up and change nothing."""

from __future__ import annotations

import gzip
import hashlib
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from random import Random

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.settings import Settings
from support.api import ApiServer, run_api
from support.malformed import Malformed, malformed
from support.valkey import RedisServer

TOGETHER = 50
ROUNDS = 200
MOST_GROWTH_BYTES = 150 * 2**20
PATIENCE = 1.0


@pytest.fixture(scope="module")
def abused(tmp_path_factory: pytest.TempPathFactory, _redis: RedisServer) -> Iterator[ApiServer]:
    """A server that nobody has made a key for, so that all of it can be reached."""
    chosen = Settings(
        data_dir=tmp_path_factory.mktemp("abused"),
        redis_url=SecretStr(_redis.url),
        redis_key_prefix="abused:",
        request_patience_seconds=PATIENCE,
    )
    with run_api(chosen) as server:
        yield server


def test_ten_thousand_malformed_requests_change_nothing(abused: ApiServer) -> None:
    with abused.client() as client:
        client.post("/api/batches", json={"prompts": ["a red apple"]}).raise_for_status()
    before, memory = fingerprint_of(abused), memory_of(abused)

    @settings(max_examples=ROUNDS, suppress_health_check=list(HealthCheck))
    @given(random=st.randoms(use_true_random=True))
    def send(random: Random) -> None:
        send_all(abused, [malformed(random) for _ in range(TOGETHER)])

    send()
    assert_up(abused)
    assert fingerprint_of(abused) == before
    assert memory_of(abused) - memory < MOST_GROWTH_BYTES


def test_slow_bodies_and_slow_headers_are_hung_up_on(abused: ApiServer) -> None:
    slow = [
        b"GET /api/batches HTT",
        b"GET /api/batches HTTP/1.1\r\nHost: 127.0.0.1\r\nX",
        b"POST /api/batches HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{",
        b"POST /api/files?name=x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nx",
        b"",
    ]
    before = fingerprint_of(abused)
    opened = [connected(abused) for _ in range(20) for _ in slow]
    for index, connection in enumerate(opened):
        with suppress(ConnectionError):  # it was hung up on before it said anything
            connection.sendall(slow[index % len(slow)])

    for connection in opened:
        answer = answer_of(connection)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408")
    assert_up(abused)
    assert fingerprint_of(abused) == before


def test_a_file_that_unpacks_without_end_is_refused(abused: ApiServer) -> None:
    bomb = gzip.compress(bytes(64 * 2**20)) * 18
    memory = memory_of(abused)
    with abused.client() as client:
        made = client.post(
            "/api/batches",
            content=bomb,
            headers={"Content-Type": "application/x-ndjson"},
        )
        batch_id = made.raise_for_status().json()["batch_id"]
        found = client.get(f"/api/batches/{batch_id}").json()
        while not found["finished"]:
            time.sleep(0.2)
            found = client.get(f"/api/batches/{batch_id}").json()

    assert found["state"] == "failed"
    assert "unpacks to more than 200 times its size" in found["errors"][0]["message"]
    assert memory_of(abused) - memory < MOST_GROWTH_BYTES


def send_all(server: ApiServer, requests: list[Malformed]) -> None:
    """Send each on a connection of its own, and read what comes until it closes."""
    connections = [connected(server) for _ in requests]
    for connection, request in zip(connections, requests, strict=True):
        try:
            connection.sendall(request.data)
            if not request.is_whole:  # it would wait for the rest
                connection.shutdown(socket.SHUT_WR)
        except OSError:  # it has hung up already
            pass
    for connection in connections:
        answer = answer_of(connection)
        assert not answer.startswith((b"HTTP/1.1 500", b"HTTP/1.1 502")), answer


def answer_of(connection: socket.socket) -> bytes:
    """Read what comes, and close; nothing comes where it was hung up on."""
    with closing(connection):
        try:
            return connection.recv(65_536)
        except ConnectionError:
            return b""


def connected(server: ApiServer) -> socket.socket:
    url = httpx.URL(server.url)
    assert url.port is not None
    connection = socket.create_connection((url.host, url.port), timeout=30)
    connection.settimeout(30)
    return connection


def assert_up(server: ApiServer) -> None:
    with server.client() as client:
        assert client.get("/readyz").json()["status"] == "ok"


def memory_of(server: ApiServer) -> int:
    """Return the resident bytes of the processes that answer, and of the clerk."""
    return sum(
        psutil.Process(process.pid).memory_info().rss for process in server.processes.running
    )


def fingerprint_of(server: ApiServer) -> str:
    """Hash every row."""
    path = server.settings.data_dir / "tenstep.sqlite3"
    digest = hashlib.sha256()
    with closing(sqlite3.connect(path)) as connection:
        for line in connection.iterdump():
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
