"""Status of a very large batch and pages of its jobs, while images are being finished.

    python infra/benchmarks/status.py --jobs 10000000

Postgres is started here. Writers claim chunks and finish images as workers do, each image in a
transaction of its own; a real dispatcher runs beside them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from itertools import islice
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import cast
from uuid import UUID

from rich.console import Console
from rich.table import Table
from sqlalchemy import select, text, update
from uuid_utils import uuid7

from producer.jobs import JobFilter, JobPage, list_jobs
from producer.status import read_status
from shared.clock import utc_now
from shared.db.bulk import NewJob, insert_jobs
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.outcomes import PhaseTimes, StoredImage, record_done
from shared.db.tables import Batch, Job
from shared.db.tallies import note_new
from shared.domain.identifiers import new_id
from shared.domain.jobs import JobState
from shared.settings import Settings
from support.commands import running
from support.factories import add_price, add_worker
from support.postgres import run_postgres
from support.valkey import run_valkey

JOBS = 10_000_000
COMPLETIONS = 500
SECONDS = 60
WRITERS = 2
PIECE = 20_000
CHUNK = 8
PAGE = 50
LOOKS_A_SECOND = 10
IMAGE = StoredImage("images/ab/abcd.png", "ab" * 32, 20_000, "cd" * 32)
TIMES = PhaseTimes(1_000_000, 900_000_000, 90_000_000, 0, 5_000_000, 7_000_000)
FILTERS = {
    "page of jobs": JobFilter(),
    "page of done jobs": JobFilter(state=JobState.DONE),
    "page of pending jobs": JobFilter(state=JobState.PENDING),
    "page by text": JobFilter(text="number 77"),
}


def fill(database: Database, jobs: int) -> UUID:
    """Write a batch of pending jobs."""
    batch_id = new_id()
    with database.write() as session:
        now = database.now(session)
        add_price(session, effective_from=now - timedelta(days=1))
        session.add(Batch(id=batch_id, name="large", model="tiny", created_at=now, total=jobs))
    rows = _rows(batch_id, jobs)
    while piece := list(islice(rows, PIECE)):
        with database.write() as session:
            insert_jobs(session, piece)
            note_new(session, batch_id, JobState.PENDING, len(piece))
    with database.write() as session:
        session.get_one(Batch, batch_id).submitted_at = database.now(session)
    return batch_id


def _rows(batch_id: UUID, jobs: int) -> Iterator[NewJob]:
    sampler = ("dpmsolver++", 16, "10,6", 7.5, 0.7)
    for number in range(jobs):
        prompt = f"a photo of a red apple number {number}, studio light"
        yield NewJob(
            *(uuid7().hex, batch_id.hex, number, None, number + 1, prompt, "", number, 64, 64),
            *(*sampler, "{}", "pending"),
        )


def finish_images(url: str, batch_id: UUID, begin: int, a_second: float, stop: Event) -> None:
    """Finish images at a rate, from a position on; a process of its own runs this."""
    database = Database(url)
    with database.write() as session:
        worker = add_worker(session, started_at=database.now(session))
        # The dispatcher must not send it anything: it takes its jobs itself.
        worker.draining = True
        worker_id = worker.id
    due = time.monotonic()
    while not stop.is_set():
        chunk_id = new_id()
        with database.write() as session:
            session.execute(
                update(Job)
                .where(Job.batch_id == batch_id, Job.position.between(begin, begin + CHUNK - 1))
                .values(chunk_id=chunk_id, queue="cpu.tiny", dispatched_at=utc_now()),
                execution_options={"synchronize_session": False},
            )
        with database.write() as session:
            now = database.now(session)
            leases = claim_chunk(session, chunk_id, worker_id, now, timedelta(seconds=30))
        for held in leases:
            with database.write() as session:
                record_done(session, held, IMAGE, TIMES, {"model": "tiny"}, database.now(session))
            due += 1 / a_second
            time.sleep(max(0.0, due - time.monotonic()))
        begin += CHUNK


def timed(work: Callable[[], object]) -> float:
    """Return milliseconds."""
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1e3


def look(
    database: Database, batch_id: UUID, seconds: float, jobs: int
) -> tuple[dict[str, list[float]], Counter[str]]:
    """Ask over and over; returns milliseconds by question, and who waited for what."""
    settings = Settings()
    taken: dict[str, list[float]] = {"status": [], **{name: [] for name in FILTERS}}
    waits: Counter[str] = Counter()
    end = time.monotonic() + seconds
    turn = 0
    while time.monotonic() < end:
        turn += 1
        taken["status"].append(timed(lambda: read_status(database, settings, batch_id)))
        after = turn * 7_919_000 % jobs
        for name, only in FILTERS.items():
            taken[name].append(timed(partial(page, database, batch_id, only, after)))
        waits.update(waiting(database))
        time.sleep(1 / LOOKS_A_SECOND)
    return taken, waits


def page(database: Database, batch_id: UUID, only: JobFilter, after: int) -> JobPage:
    """Read a page of jobs."""
    with database.read() as session:
        return list_jobs(session, batch_id, only, after, PAGE)


def waiting(database: Database) -> list[str]:
    """Tell what the server's connections wait for at this moment."""
    query = text(
        "SELECT coalesce(wait_event_type || ': ' || wait_event, 'running') FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND state = 'active'"
    )
    with database.read() as session:
        return list(session.scalars(query))


def measure(jobs: int, completions: int, seconds: float) -> dict[str, object]:
    """Run it all."""
    with (
        tempfile.TemporaryDirectory() as folder,
        run_postgres() as postgres,
        run_valkey() as redis,
    ):
        url = postgres.url(postgres.create_database())
        database = Database(url)
        migrate(database)
        begin = time.perf_counter()
        batch_id = fill(database, jobs)
        filled = time.perf_counter() - begin
        environment = {
            **os.environ,
            "TENSTEP_DATA_DIR": folder,
            "TENSTEP_DATABASE_URL": url,
            "TENSTEP_REDIS_URL": redis.url,
        }
        context = multiprocessing.get_context("spawn")
        stop = context.Event()
        writers = [
            context.Process(
                target=finish_images,
                args=(url, batch_id, jobs // WRITERS * index, completions / WRITERS, stop),
            )
            for index in range(WRITERS)
        ]
        with running(environment, "dispatch", cwd=Path(folder)):
            for writer in writers:
                writer.start()
            time.sleep(5)
            before, began = done(database, batch_id), time.perf_counter()
            taken, waits = look(database, batch_id, seconds, jobs)
            rate = (done(database, batch_id) - before) / (time.perf_counter() - began)
            stop.set()
            for writer in writers:
                writer.join()
        with database.read() as session:
            counted = sum(1 for _ in session.scalars(select(Job.id).where(Job.state == "done")))
        if counted != done(database, batch_id):
            raise SystemExit("the counts are wrong")
        database.close()
        return {
            "jobs": jobs,
            "filled_per_second": jobs / filled,
            "completions_per_second": rate,
            "milliseconds": {
                name: {
                    "median": statistics.median(values),
                    "p99": statistics.quantiles(values, n=100)[98],
                    "looks": len(values),
                }
                for name, values in taken.items()
            },
            "connections_by_wait": dict(waits),
        }


def done(database: Database, batch_id: UUID) -> int:
    """Return how many images are done."""
    return read_status(database, Settings(), batch_id).done


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--completions", type=int, default=COMPLETIONS, help="a second")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.jobs, arguments.completions, arguments.seconds)
    if arguments.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    title = (
        f"{arguments.jobs:,} jobs in Postgres, {found['completions_per_second']:.0f} images "
        "finished a second"
    )
    table = Table("milliseconds", "median", "p99", "looks", title=title)
    milliseconds = cast("dict[str, dict[str, float]]", found["milliseconds"])
    for name, figures in milliseconds.items():
        table.add_row(
            name, f"{figures['median']:.1f}", f"{figures['p99']:.1f}", str(figures["looks"])
        )
    Console().print(table)
    Console().print(f"active connections by what they wait for: {found['connections_by_wait']}")


if __name__ == "__main__":
    main()
