"""The server under many clients: pollers, followers, and a large upload.

    PYTHONPATH=infra:tests python infra/benchmarks/api.py

Postgres, Redis, an S3 server and the API are started here, with a batch of a million jobs in
the books of which images are being finished. The clients share the machine with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import httpx
import psutil
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from benchmarks.status import fill, finish_images
from producer.keys import create_key
from shared.domain.access import OF_A_TENANT
from shared.settings import Settings
from support.api import ApiServer, run_api
from support.postgres import run_postgres
from support.seaweedfs import S3Bucket, run_seaweedfs
from support.valkey import run_valkey

JOBS = 1_000_000
COMPLETIONS = 20
POLLERS = 200
FOLLOWERS = 500
SECONDS = 30
UPLOAD_BYTES = 10**9
LINE = b'{"prompt": "a photo of a red apple number %012d, studio light, on a table of oak"}\n'
LINES_A_BLOCK = 10_000
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Measured:
    """One figure of the report."""

    name: str
    value: float
    unit: str
    limit: float | None = None


@contextmanager
def served(jobs: int) -> Iterator[tuple[ApiServer, UUID, str]]:
    """Run everything; yields the server, the batch and a key."""
    with (
        tempfile.TemporaryDirectory() as folder,
        run_postgres() as postgres,
        run_valkey() as redis,
        run_seaweedfs() as s3,
    ):
        url = postgres.url(postgres.create_database())
        s3.client().create_bucket(Bucket="images")
        chosen = {
            name.removeprefix("TENSTEP_").lower(): value
            for name, value in S3Bucket(s3, "images").settings.items()
        }
        settings = Settings(
            data_dir=Path(folder),
            database_url=SecretStr(url),
            redis_url=SecretStr(redis.url),
            **chosen,
        )
        with run_api(settings) as server:
            batch_id = fill(server.database, jobs)
            with server.database.write() as session:
                now = server.database.now(session)
                _, key = create_key(
                    session, "default", "bench", OF_A_TENANT, now, requests_per_minute=10**7
                )
            with finishing(url, batch_id):
                yield server, batch_id, key


@contextmanager
def finishing(url: str, batch_id: UUID) -> Iterator[None]:
    """Finish images at a steady rate while the block runs."""
    stop = multiprocessing.Event()
    process = multiprocessing.Process(
        target=finish_images, args=(url, batch_id, 0, COMPLETIONS, stop)
    )
    process.start()
    try:
        yield
    finally:
        stop.set()
        process.join()


class Connection:
    """A client that costs next to nothing: what is measured is the server."""

    def __init__(self, url: httpx.URL, path: str, credential: str) -> None:
        self._url = url
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n{credential}\r\n\r\n"
        ).encode()

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(self._url.host, self._url.port)

    async def ask(self) -> bytes:
        """Send the request and return the body; the connection stays open."""
        self._writer.write(self._request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(head.decode())
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        return await self._reader.readexactly(length)

    async def lines(self) -> AsyncIterator[bytes]:
        """Send the request and yield the lines of a body that does not end."""
        self._writer.write(self._request)
        while line := await self._reader.readline():
            yield line

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


def bearer(key: str) -> str:
    """Return the header that shows a key."""
    return f"Authorization: Bearer {key}"


async def poll(connection: Connection, pause: float, until: float, taken: list[float]) -> None:
    """Ask for the status over and over; notes seconds."""
    await connection.open()
    await asyncio.sleep(pause * (id(connection) % 997) / 997)
    while time.perf_counter() < until:
        begin = time.perf_counter()
        await connection.ask()
        now = time.perf_counter()
        taken.append(now - begin)
        await asyncio.sleep(max(0.0, pause - (now - begin)))
    connection.close()


async def poll_all(
    server: ApiServer, batch_id: UUID, key: str, pause: float, seconds: float
) -> list[float]:
    """Have 200 clients ask, each so often."""
    url, taken = httpx.URL(server.url), list[float]()
    until = time.perf_counter() + seconds
    await asyncio.gather(
        *(
            poll(Connection(url, f"/api/batches/{batch_id}", bearer(key)), pause, until, taken)
            for _ in range(POLLERS)
        )
    )
    return taken


async def follow(connection: Connection, until: float, events: list[float]) -> None:
    """Note when each event came."""
    await connection.open()
    async for line in connection.lines():
        if line.startswith(b"event: status"):
            events.append(time.perf_counter())
        if time.perf_counter() > until:
            break
    connection.close()


async def follow_all(
    server: ApiServer, batch_id: UUID, key: str, seconds: float
) -> list[list[float]]:
    """Have 500 clients follow the batch."""
    url = httpx.URL(server.url)
    until = time.perf_counter() + seconds
    events: list[list[float]] = [[] for _ in range(FOLLOWERS)]
    await asyncio.gather(
        *(
            follow(Connection(url, f"/api/batches/{batch_id}/events", bearer(key)), until, own)
            for own in events
        )
    )
    return events


def process_of(server: ApiServer) -> psutil.Process:
    """Return the process that answers."""
    [process] = [
        psutil.Process(each.pid)
        for each in server.processes.running
        if "producer.api" in psutil.Process(each.pid).cmdline()
    ]
    return process


def upload(server: ApiServer, key: str, size: int) -> tuple[float, float]:
    """Upload a file of so many bytes; returns MB/s and by how much the server's memory grew."""
    process = process_of(server)
    before, most = process.memory_info().rss, [0]

    def blocks() -> Iterator[bytes]:
        sent = number = 0
        while sent < size:
            block = b"".join(LINE % n for n in range(number, number + LINES_A_BLOCK))
            number += LINES_A_BLOCK
            sent += len(block)
            most[0] = max(most[0], process.memory_info().rss)
            yield block

    begin = time.perf_counter()
    with server.client(key) as client:
        answer = client.post(
            "/api/files", params={"name": "large.jsonl"}, content=blocks(), timeout=600
        )
        stored = answer.raise_for_status().json()["bytes"]
    return stored / 1e6 / (time.perf_counter() - begin), (most[0] - before) / MEBIBYTE


def measure(jobs: int, seconds: float, size: int) -> list[Measured]:
    """Run all of it."""
    with served(jobs) as (server, batch_id, key):
        with server.client(key) as client:  # a process that has just begun is slow once
            client.get(f"/api/batches/{batch_id}").raise_for_status()
        paced = asyncio.run(poll_all(server, batch_id, key, 1.0, seconds))
        hard = asyncio.run(poll_all(server, batch_id, key, 0.0, seconds / 3))
        events = asyncio.run(follow_all(server, batch_id, key, seconds))
        speed, growth = upload(server, key, size)
    gaps = [late - early for own in events for early, late in pairwise(own)]
    return [
        Measured("200 pollers, once a second: median", statistics.median(paced) * 1e3, "ms"),
        Measured("200 pollers, once a second: p99", quantile(paced, 99) * 1e3, "ms", 100),
        Measured("200 pollers without a pause: requests", len(hard) / (seconds / 3), "1/s"),
        Measured("200 pollers without a pause: p99", quantile(hard, 99) * 1e3, "ms"),
        Measured("500 followers: who got events", sum(len(own) > 1 for own in events), "clients"),
        Measured("500 followers: p99 from event to event", quantile(gaps, 99) * 1e3, "ms"),
        Measured(f"upload of {size / 1e9:g} GB to S3", speed, "MB/s"),
        Measured("upload: growth of the server's memory", growth, "MiB"),
    ]


def quantile(values: list[float], per_cent: int) -> float:
    """Return a percentile."""
    return statistics.quantiles(values, n=100)[per_cent - 1]


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--bytes", type=int, default=UPLOAD_BYTES)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    show(measure(chosen.jobs, chosen.seconds, chosen.bytes), chosen.jobs, as_json=chosen.json)


def show(measured: Sequence[Measured], jobs: int, *, as_json: bool) -> None:
    """Print figures as a table, or as JSON."""
    if as_json:
        sys.stdout.write(json.dumps([vars(one) for one in measured], indent=2) + "\n")
        return
    table = Table(title=f"{jobs:,} jobs, {os.cpu_count()} cores", title_justify="left")
    table.add_column("what")
    table.add_column("measured", justify="right")
    table.add_column("limit", justify="right")
    for one in measured:
        limit = "" if one.limit is None else f"{one.limit:g} {one.unit}"
        table.add_row(one.name, f"{one.value:,.2f} {one.unit}", limit)
    Console().print(table)


if __name__ == "__main__":
    main()
