"""The dashboard with a million jobs: its pages, who looks at a live batch, the first paint.

    PYTHONPATH=infra:tests python infra/benchmarks/pages.py

Postgres, Redis, an S3 server and the server are started here, with a batch of a million jobs
of which images are being finished, one that is drawn, and a thousand small ones. The clients
share the machine with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from uuid import UUID

import httpx
from drawn_batch import fill as fill_drawn

from benchmarks.api import Connection, Measured, process_of, quantile, served, show
from benchmarks.costs import add_small_batches
from producer.dashboard.visits import COOKIE, SIGN_IN
from shared.domain.access import Scope
from support.api import ApiServer
from support.browser import launched_browser

JOBS = 1_000_000
DRAWN = 100_000
SMALL_BATCHES = 1_000
REQUESTS = 40
VIEWERS = 100
SECONDS = 30
PAINTS = 5
PAGE_LIMIT_MS = 100
VIEWER_LIMIT_PER_CENT = 1
PAINT_LIMIT_MS = 1_000
FORM_FIELD = 'name="form_token" value="'


def sign_in(server: ApiServer, client: httpx.Client) -> None:
    """Sign in as one who sees everything."""
    token = client.get(SIGN_IN).text.split(FORM_FIELD)[1].split('"')[0]
    fields = {"form_token": token, "key": server.new_key("ops", Scope.ADMIN)}
    if not client.post(SIGN_IN, data=fields).has_redirect_location:
        raise RuntimeError("the key is not taken")


def paths(client: httpx.Client, live: UUID, drawn: UUID) -> dict[str, str]:
    """Return the pages, by what they show."""
    jobs = client.get(f"/batches/{drawn}/jobs/{DRAWN // 2}").headers["location"]
    return {
        "batches": "/batches",
        "batches, searched": "/batches?q=small+99&state=finished",
        "a live batch of 1 M": f"/batches/{live}",
        "a drawn batch": f"/batches/{drawn}",
        "its next 100 images": f"/batches/{drawn}/images",
        "its charts": f"/batches/{drawn}/series",
        "its jobs": f"/batches/{drawn}/jobs?after={DRAWN // 2}",
        "an image": jobs,
        "a new batch": "/batches/new",
        "fleet": "/fleet",
        "costs by day, kept": "/costs?by=day",
        "costs by tenant, kept": "/costs?by=tenant",
        "the form of a plan": "/plan",
    }


def time_page(client: httpx.Client, path: str) -> list[float]:
    """Ask for a page over and over; returns milliseconds, without those of the first time."""
    taken = []
    for _ in range(REQUESTS + 1):
        begin = time.perf_counter()
        client.get(path).raise_for_status()
        taken.append((time.perf_counter() - begin) * 1e3)
        time.sleep(0.05)
    return taken[1:]


async def look(server: ApiServer, path: str, cookie: str, seconds: float) -> int:
    """Have 100 viewers follow a batch; returns how many events they got."""
    until = time.perf_counter() + seconds

    async def one() -> int:
        connection = Connection(httpx.URL(server.url), path, f"Cookie: {COOKIE}={cookie}")
        await connection.open()
        events = 0
        async for line in connection.lines():
            events += line.startswith(b"event: progress")
            if time.perf_counter() > until:
                break
        connection.close()
        return events

    return sum(await asyncio.gather(*(one() for _ in range(VIEWERS))))


def time_viewers(server: ApiServer, path: str, cookie: str, seconds: float) -> tuple[float, float]:
    """Return per cent of a core for each viewer, and how many events a second each got."""
    process = process_of(server)
    before, begin = process.cpu_times(), time.perf_counter()
    events = asyncio.run(look(server, path, cookie, seconds))
    after, passed = process.cpu_times(), time.perf_counter() - begin
    used = (after.user + after.system) - (before.user + before.system)
    return 100 * used / passed / VIEWERS, events / passed / VIEWERS


def time_paint(server: ApiServer, path: str, cookie: str) -> list[float]:
    """Return milliseconds from the click to the first paint with something on it."""
    taken = []
    with launched_browser() as browser:
        for _ in range(PAINTS):
            context = browser.new_context()
            context.add_cookies([{"name": COOKIE, "value": cookie, "url": server.url}])
            page = context.new_page()
            page.goto(server.url + path, wait_until="load")
            page.wait_for_timeout(500)
            taken.append(
                page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            )
            context.close()
    return taken


def measure(jobs: int, seconds: float) -> list[Measured]:
    """Run all of it."""
    with served(jobs) as (server, live, _):
        drawn = fill_drawn(server.database, DRAWN)
        add_small_batches(server.database, SMALL_BATCHES)
        with httpx.Client(base_url=server.url, timeout=60) as client:
            sign_in(server, client)
            measured = []
            for name, path in paths(client, live, drawn).items():
                taken = time_page(client, path)
                median = statistics.median(taken)
                measured += [
                    Measured(f"{name}: median", median, "ms", PAGE_LIMIT_MS),
                    Measured(f"{name}: p95", quantile(taken, 95), "ms"),
                ]
            cookie = client.cookies[COOKIE]
            share, events = time_viewers(server, f"/batches/{live}/live", cookie, seconds)
            paint = time_paint(server, f"/batches/{live}", cookie)
    return [
        *measured,
        Measured("100 viewers of a live batch: each", share, "% of a core", VIEWER_LIMIT_PER_CENT),
        Measured("100 viewers of a live batch: events for each", events, "1/s"),
        Measured("first paint of it, median", statistics.median(paint), "ms", PAINT_LIMIT_MS),
    ]


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    show(measure(chosen.jobs, chosen.seconds), chosen.jobs, as_json=chosen.json)


if __name__ == "__main__":
    main()
