"""Times ``tenstep pull --manifest-only`` on a large batch, and its memory.

Fills a database with jobs that are done, their attempts and their entries in the books, then
runs the command as a user would. Needs ``PYTHONPATH=tests`` for its own Postgres.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table
from sqlalchemy import insert, text

from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.tables import Attempt, Batch, Job, LedgerEntry
from shared.db.tallies import note_new
from shared.domain.identifiers import new_id
from shared.domain.jobs import AttemptOutcome, JobState, LedgerKind
from shared.storage.base import image_key

TENSTEP = Path(sys.executable).with_name("tenstep")
START = datetime(2030, 1, 2, tzinfo=UTC)
ROWS_A_STATEMENT = 5_000
COST = 21_250
RECORD = {
    "backend": "torch",
    "backend_version": "2.13.0",
    "precision": "float16",
    "threads": None,
    "device": "cuda:0",
    "device_name": "an accelerator",
    "model": "emoji-64",
    "weights_sha256": "ab" * 32,
    "licence": "Apache-2.0",
    "note": None,
    "timesteps": [999, 899, 799, 699, 599, 499, 399, 299, 199, 99],
    "prompt_lost": "",
    "negative_prompt_lost": "",
    "safety_checker": None,
    "tenstep": "0.1.0",
}


def fill(database: Database, jobs: int) -> UUID:
    """Write a batch whose jobs are all done; returns its id."""
    batch = Batch(name="benchmark", model="emoji-64", total=jobs, created_at=START)
    with database.write() as session:
        session.add(batch)
        session.flush()
        batch_id = batch.id
        note_new(session, batch_id, JobState.DONE, jobs)
    for start in range(0, jobs, ROWS_A_STATEMENT):
        rows = list(_rows(batch_id, range(start, min(start + ROWS_A_STATEMENT, jobs))))
        with database.write() as session:
            for index, table in enumerate((Job, Attempt, LedgerEntry)):
                session.execute(insert(table), [row[index] for row in rows])
    with database.write() as session:
        session.execute(text("ANALYZE"))  # which Postgres does by itself in a while
    return batch_id


def _rows(batch_id: UUID, positions: range) -> Iterator[tuple[dict[str, Any], ...]]:
    for position in positions:
        job_id, attempt_id, worker_id = new_id(), new_id(), new_id()
        sha256 = f"{position:064x}"
        finished_at = START + timedelta(milliseconds=position)
        job = {
            "id": job_id,
            "batch_id": batch_id,
            "position": position,
            "custom_id": f"item-{position}",
            "source_line": position + 1,
            "prompt": f"a painting of animal {position} in a meadow at dawn, soft light, detailed",
            "negative_prompt": "blurred, low quality",
            "seed": position,
            "width": 512,
            "height": 512,
            "steps": 16,
            "scheduler": "dpmsolver++",
            "squeeze": "10,6",
            "guidance_scale": 7.5,
            "guidance_rescale": 0.8,
            "details": {"campaign": "spring", "number": position},
            "state": JobState.DONE,
            "attempts": 1,
            "image_key": image_key(sha256),
            "image_sha256": sha256,
            "image_bytes": 400_000,
            "finished_at": finished_at,
        }
        attempt = {
            "id": attempt_id,
            "job_id": job_id,
            "batch_id": batch_id,
            "number": 1,
            "fencing_token": 1,
            "worker_id": worker_id,
            "device_kind": "cuda",
            "device_name": "an accelerator",
            "outcome": AttemptOutcome.DONE,
            "claimed_at": finished_at - timedelta(seconds=1),
            "finished_at": finished_at,
            "queue_wait_ns": 1_234_567,
            "text_encode_ns": 10_000_000,
            "denoise_ns": 900_000_000,
            "decode_ns": 90_000_000,
            "safety_check_ns": 0,
            "png_encode_ns": 5_000_000,
            "upload_ns": 7_000_000,
            "device_ns": 1_000_000_000,
            "nanodollars_per_hour": 76_500_000,
            "cost_nanodollars": COST,
            "record": RECORD,
        }
        entry = {
            "id": new_id(),
            "event_id": f"attempt:{attempt_id}",
            "kind": LedgerKind.RENDER,
            "batch_id": batch_id,
            "job_id": job_id,
            "attempt_id": attempt_id,
            "worker_id": worker_id,
            "device_kind": "cuda",
            "device_ns": 1_000_000_000,
            "nanodollars_per_hour": 76_500_000,
            "amount_nanodollars": COST,
            "created_at": finished_at,
        }
        yield job, attempt, entry


def export(url: str, batch_id: UUID, kind: str, folder: Path) -> tuple[float, float]:
    """Run the command; returns wall seconds and its peak resident megabytes."""
    arguments = ["pull", str(batch_id), "--manifest-only", "--manifest", kind, "--json"]
    begin = time.perf_counter()
    process = subprocess.Popen(
        [TENSTEP, *arguments, "--to", str(folder)],
        env={**os.environ, "TENSTEP_DATABASE_URL": url, "TENSTEP_DATA_DIR": str(folder / "data")},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"tenstep pull ended with {process.returncode}")
    return time.perf_counter() - begin, usage.ru_maxrss / 1e3


def measure(url: str, jobs: int, kinds: list[str]) -> Iterator[tuple[str, float, float, float]]:
    """Fill a database and export from it; yields kind, seconds, megabytes and file size."""
    database = Database(url)
    migrate(database)
    batch_id = fill(database, jobs)
    database.close()
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            seconds, memory = export(url, batch_id, kind, Path(folder))
            written = sum(path.stat().st_size for path in Path(folder).glob("manifest.*"))
        yield kind, seconds, memory, written / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--database-url", help="default: a SQLite file, then a Postgres")
    parser.add_argument("--manifest", nargs="+", default=["jsonl", "parquet", "both"])
    arguments = parser.parse_args()
    table = Table(
        *("database", "manifest", "seconds", "rows/s", "peak memory", "written"),
        title=f"{arguments.jobs:,} manifest rows",
    )
    with ExitStack() as stack:
        if arguments.database_url:
            urls = [arguments.database_url]
        else:
            from support.postgres import run_postgres

            folder = stack.enter_context(tempfile.TemporaryDirectory())
            postgres = stack.enter_context(run_postgres())
            urls = [f"sqlite:///{folder}/b.sqlite3", postgres.url(postgres.create_database())]
        for url in urls:
            for kind, seconds, memory, size in measure(url, arguments.jobs, arguments.manifest):
                table.add_row(
                    *(url.split(":")[0], kind, f"{seconds:.1f}"),
                    *(f"{arguments.jobs / seconds:,.0f}", f"{memory:.0f} MB", f"{size:.0f} MB"),
                )
    Console().print(table)


if __name__ == "__main__":
    main()
