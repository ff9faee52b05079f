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
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from drawn_batch import fill
from rich.console import Console
from rich.table import Table

from shared.db.engine import Database
from shared.db.migrate import migrate

TENSTEP = Path(sys.executable).with_name("tenstep")


class Export(NamedTuple):
    """What one run of the command took."""

    seconds: float
    cpu_seconds: float
    """Of the command itself, without the database server."""
    megabytes: float
    """Resident at its peak."""


def export(url: str, batch_id: UUID, kind: str, folder: Path) -> Export:
    """Run the command."""
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
    seconds = time.perf_counter() - begin
    return Export(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3)


def measure(url: str, jobs: int, kinds: list[str]) -> Iterator[tuple[str, Export, float]]:
    """Fill a database and export from it; yields the kind, the run and the megabytes written."""
    database = Database(url)
    migrate(database)
    batch_id = fill(database, jobs)
    database.close()
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            run = export(url, batch_id, kind, Path(folder))
            written = sum(path.stat().st_size for path in Path(folder).glob("manifest.*"))
        yield kind, run, written / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--database-url", help="default: a SQLite file, then a Postgres")
    parser.add_argument("--manifest", nargs="+", default=["jsonl", "parquet", "both"])
    arguments = parser.parse_args()
    table = Table(
        *("database", "manifest", "seconds", "cpu", "rows/s", "peak memory", "written"),
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
            for kind, run, size in measure(url, arguments.jobs, arguments.manifest):
                table.add_row(
                    *(url.split("://")[0].split("+")[0], kind),
                    *(f"{run.seconds:.1f}", f"{run.cpu_seconds:.1f}"),
                    f"{arguments.jobs / run.seconds:,.0f}",
                    *(f"{run.megabytes:.0f} MB", f"{size:.0f} MB"),
                )
    Console().print(table)


if __name__ == "__main__":
    main()
