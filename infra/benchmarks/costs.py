"""Times the bill of a very large batch and reports of costs, on SQLite and on Postgres.

    PYTHONPATH=infra:tests python infra/benchmarks/costs.py --jobs 1000000

Fills a database with the batch, drawn by a dozen workers in three days, and with a thousand
small batches beside it. Each question is asked in this process, and as a whole command with
its start; a figure is the median of five.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from uuid import UUID

from drawn_batch import DAY, DAYS, START, fill, fold
from rich.console import Console
from rich.table import Table
from sqlalchemy import insert, literal, select
from sqlalchemy.orm import Session

from producer.costs import cost_report, job_costs, make_bill
from producer.costs_by import CostsBy
from shared.db.cost_sums import Booked, CostKey, add_to_sums
from shared.db.cost_tables import LedgerEntry
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.tables import Batch, Worker
from shared.domain.jobs import LedgerKind
from support.commands import TENSTEP
from support.postgres import run_postgres

JOBS = 1_000_000
SMALL_BATCHES = 1_000
RUNS = 5
PAGE = 20
LIMIT_SECONDS = 1.0
TENANTS = ("ada", "bert", "carl", "dora")
MODELS = ("emoji-64", "sd-1.5", "decidiffusion-2.0")

Ask = Callable[[Session], object]


def add_small_batches(database: Database, batches: int) -> None:
    """Write batches of one image a worker and day, with tenants, models and tags."""
    chance = random.Random(0)  # noqa: S311 - amounts, no secrets
    with database.write() as session:
        worker_ids = session.scalars(select(Worker.id).order_by(Worker.id)).all()
        sums: dict[CostKey, Booked] = {}
        for number in range(batches):
            batch = Batch(
                name=f"small {number}",
                tenant=chance.choice(TENANTS),
                model=chance.choice(MODELS),
                tags={"campaign": f"c{number % 20}", "team": f"t{number % 7}"},
                total=1,
                created_at=START + timedelta(seconds=number),
            )
            session.add(batch)
            session.flush()
            for worker_id in chance.sample(worker_ids, 4):
                for day in range(DAYS):
                    cost = chance.randrange(20_000, 300_000)
                    key = CostKey(
                        batch.id, worker_id, LedgerKind.RENDER, (START + day * DAY).date()
                    )
                    sums[key] = Booked(1, 10**9, cost, cost, cost)
        add_to_sums(session, sums)


def correct_all(database: Database, batch_id: UUID) -> None:
    """Book a correction of every image, as after a price that came late."""
    render = select(
        LedgerEntry.job_id,  # unique too, and no entry's id
        literal("correction:").concat(LedgerEntry.event_id),
        literal(LedgerKind.CORRECTION.value),
        LedgerEntry.batch_id,
        LedgerEntry.job_id,
        LedgerEntry.worker_id,
        LedgerEntry.device_kind,
        literal(0),
        literal(1),
        literal(1),
        LedgerEntry.priced_at,
        LedgerEntry.created_at,
    ).where(LedgerEntry.batch_id == batch_id, LedgerEntry.kind == LedgerKind.RENDER)
    columns = ("id", "event_id", "kind", "batch_id", "job_id", "worker_id", "device_kind")
    figures = ("device_ns", "nanodollars_per_hour", "amount_nanodollars")
    with database.write() as session:
        session.execute(
            insert(LedgerEntry).from_select([*columns, *figures, "priced_at", "created_at"], render)
        )
        booked = session.execute(
            select(LedgerEntry.worker_id, LedgerEntry.created_at).where(
                LedgerEntry.batch_id == batch_id, LedgerEntry.kind == LedgerKind.CORRECTION
            ),
            execution_options={"yield_per": 10_000},
        )
        counts = Counter((worker_id, created_at.date()) for worker_id, created_at in booked)
        sums = {
            CostKey(batch_id, worker_id, LedgerKind.CORRECTION, day): Booked(count, 0, count, 1, 1)
            for (worker_id, day), count in counts.items()
        }
        add_to_sums(session, sums)


def questions(batch_id: UUID) -> Iterator[tuple[str, list[str], Ask]]:
    """Yield each question, as arguments of ``tenstep cost`` and as a function."""
    yield (
        "the bill",
        [str(batch_id)],
        lambda session: make_bill(session, session.get_one(Batch, batch_id)).to_json(),
    )
    yield first_page(batch_id)
    for by in CostsBy:
        if by is not CostsBy.JOB:
            yield (
                f"all by {by}",
                ["--by", by],
                lambda session, by=by: cost_report(session, by=by).to_json(),
            )
    yield (
        "the batch by worker",
        [str(batch_id), "--by", "worker"],
        lambda session: cost_report(
            session, by=CostsBy.WORKER, batch=session.get_one(Batch, batch_id)
        ).to_json(),
    )


def first_page(batch_id: UUID) -> tuple[str, list[str], Ask]:
    """Make the question for the first jobs."""

    def ask(session: Session) -> object:
        return list(job_costs(session, session.get_one(Batch, batch_id), limit=PAGE))

    return "first page by job", [str(batch_id), "--by", "job", "--limit", str(PAGE)], ask


def in_process(database: Database, ask: Ask) -> float:
    """Return seconds."""
    begin = time.perf_counter()
    with database.read() as session:
        ask(session)
    return time.perf_counter() - begin


def as_command(url: str, arguments: list[str]) -> float:
    """Return seconds."""
    begin = time.perf_counter()
    subprocess.run(
        [TENSTEP, "cost", *arguments, "--json"],
        env={**os.environ, "TENSTEP_DATABASE_URL": url},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - begin


def timed(database: Database, url: str, arguments: list[str], ask: Ask) -> tuple[float, float]:
    """Ask over and over; returns median seconds in this process and of the command."""
    return (
        statistics.median(in_process(database, ask) for _ in range(RUNS)),
        statistics.median(as_command(url, arguments) for _ in range(RUNS)),
    )


def measure(url: str, jobs: int, batches: int) -> dict[str, tuple[float, float]]:
    """Fill a database and ask; returns median seconds by question."""
    database = Database(url)
    migrate(database)
    batch_id = fill(database, jobs)
    add_small_batches(database, batches)
    taken = {
        name: timed(database, url, arguments, ask) for name, arguments, ask in questions(batch_id)
    }
    correct_all(database, batch_id)
    fold(database)
    name, arguments, ask = first_page(batch_id)
    taken[f"{name}, all corrected"] = timed(database, url, arguments, ask)
    database.close()
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--batches", type=int, default=SMALL_BATCHES, help="small ones beside it")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        postgres = stack.enter_context(run_postgres())
        taken = {
            "SQLite": measure(f"sqlite:///{folder}/b.sqlite3", arguments.jobs, arguments.batches),
            "Postgres": measure(
                postgres.url(postgres.create_database()), arguments.jobs, arguments.batches
            ),
        }
    table = Table(
        *("seconds", "limit", *(f"{name}{what}" for name in taken for what in ("", ", command"))),
        title=f"costs of {arguments.jobs:,} jobs and {arguments.batches:,} small batches",
    )
    for question in taken["SQLite"]:
        figures = [seconds for each in taken.values() for seconds in each[question]]
        table.add_row(question, f"{LIMIT_SECONDS:.0f}", *(f"{seconds:.3f}" for seconds in figures))
    Console().print(table)
    slow = [name for each in taken.values() for name, (s, _) in each.items() if s > LIMIT_SECONDS]
    if slow:
        sys.exit(f"longer than {LIMIT_SECONDS:.0f} s: {', '.join(slow)}")


if __name__ == "__main__":
    main()
