"""A large batch into the books: rate, memory, the first image, beside plain Celery.

    python infra/benchmarks/submit.py --jobs 1000000

Everything is started here, and nothing is kept: Postgres, Redis, SQLite, a simulated device.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from redis import Redis
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from chaos.plain_celery import app, draw
from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.tables import Attempt, Worker
from support.commands import TENSTEP, running, wait_until
from support.postgres import Postgres, run_postgres
from support.valkey import RedisServer, run_valkey

JOBS = 1_000_000
RUNS = 3
CELERY_MESSAGES = 10_000
SAMPLE_SECONDS = 0.05
FIRST_IMAGE_SECONDS = 60


def write_prompts(path: Path, jobs: int) -> None:
    """Write JSONL as a user's program would."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(jobs):
            prompt = f"a photo of a red apple number {number}, studio light"
            file.write(json.dumps({"prompt": prompt, "custom_id": f"c{number}"}) + "\n")


def submit(environment: dict[str, str], prompts: Path, key: str) -> tuple[float, int]:
    """Return wall seconds of the whole command, and its peak memory with its child's, in bytes.

    Pages that both processes have are counted once.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(
        [TENSTEP, "submit", str(prompts), "--key", key],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f"tenstep submit ended with {process.returncode}")
    return time.perf_counter() - begin, peak


def resident(pid: int) -> int:
    """Sum the memory of a process and those below it."""
    try:
        root = psutil.Process(pid)
        return sum(p.memory_full_info().pss for p in [root, *root.children(recursive=True)])
    except psutil.Error:
        return 0


def first_image_seconds(environment: dict[str, str], prompts: Path) -> tuple[float, int]:
    """Return how long after the command's start an image was begun, and Redis's peak bytes."""
    url = environment["TENSTEP_REDIS_URL"]
    with (
        running(environment, "up", "--no-serve", cwd=prompts.parent),
        opened(environment) as database,
    ):
        wait_until(lambda: count(database, Worker) > 0)
        begin = utc_now()
        process = subprocess.Popen(
            [TENSTEP, "submit", str(prompts), "--key", "first image"],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        wait_until(lambda: count(database, Attempt) > 0, seconds=FIRST_IMAGE_SECONDS)
        with database.read() as session:
            claimed = session.scalar(select(func.min(Attempt.claimed_at)))
        most = 0
        with Redis.from_url(url) as client:
            while process.poll() is None:
                info: Any = client.info("memory")
                most = max(most, int(info["used_memory"]))
                time.sleep(SAMPLE_SECONDS)
        if claimed is None:
            raise SystemExit("nothing was begun")
        return (claimed - begin).total_seconds(), most


def count(database: Database, table: type[Worker | Attempt]) -> int:
    """Count rows."""
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


@contextmanager
def opened(environment: dict[str, str]) -> Iterator[Database]:
    """Open the books that a command uses."""
    data = Path(environment["TENSTEP_DATA_DIR"])
    default = f"sqlite:///{data / 'tenstep.sqlite3'}"
    database = Database(environment.get("TENSTEP_DATABASE_URL", default))
    subprocess.run([TENSTEP, "migrate"], env=environment, check=True, stdout=subprocess.DEVNULL)
    yield database
    database.close()


def plain_celery_rate(redis: RedisServer) -> float:
    """Return how many messages a second ``apply_async`` sends, one an image."""
    app.conf.broker_url = redis.url
    draw.apply_async(args=(0,))
    begin = time.perf_counter()
    for number in range(CELERY_MESSAGES):
        draw.apply_async(args=(number,))
    return CELERY_MESSAGES / (time.perf_counter() - begin)


def environment_for(folder: Path, redis: RedisServer, postgres: Postgres | None) -> dict[str, str]:
    """Return the environment of a fleet with one simulated device."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TENSTEP_")},
        "TENSTEP_DATA_DIR": str(folder / "data"),
        "TENSTEP_REDIS_URL": redis.url,
        "TENSTEP_DEVICE": "simulated:0",
        "TENSTEP_SIMULATED_IMAGE_SECONDS": "1",
    }
    if postgres is not None:
        environment["TENSTEP_DATABASE_URL"] = postgres.url(postgres.create_database())
    return environment


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    celery: list[float] = []
    with tempfile.TemporaryDirectory() as folder, run_valkey() as redis, run_postgres() as postgres:
        prompts = Path(folder) / "prompts.jsonl"
        write_prompts(prompts, arguments.jobs)
        environments = {
            name: environment_for(Path(folder) / name, redis, server)
            for name, server in (("Postgres", postgres), ("SQLite", None))
        }
        seconds: dict[str, list[float]] = {name: [] for name in environments}
        peaks: dict[str, list[int]] = {name: [] for name in environments}
        for run in range(arguments.runs):
            for name, environment in environments.items():
                wall, peak = submit(environment, prompts, f"run {run}")
                seconds[name].append(wall)
                peaks[name].append(peak)
            redis.flush()
            celery.append(plain_celery_rate(redis))
        for name, environment in environments.items():
            redis.flush()
            # Empty books, so that nothing else is sent first.
            fresh = environment_for(
                Path(folder) / f"{name} first", redis, postgres if name == "Postgres" else None
            )
            first, redis_bytes = first_image_seconds(fresh, prompts)
            median = statistics.median(seconds[name])
            figures[name] = {
                "seconds": median,
                "jobs_per_second": arguments.jobs / median,
                "slowest_jobs_per_second": arguments.jobs / max(seconds[name]),
                "times_plain_celery": arguments.jobs / median / statistics.median(celery),
                "peak_megabytes": max(peaks[name]) / 1e6,
                "first_image_begun_seconds": first,
                "redis_megabytes": redis_bytes / 1e6,
            }
            environment.clear()
    peer = statistics.median(celery)
    if arguments.json:
        sys.stdout.write(json.dumps({**figures, "plain_celery_messages_per_second": peer}) + "\n")
        return
    show(arguments.jobs, figures, peer)


def show(jobs: int, figures: dict[str, dict[str, float]], peer: float) -> None:
    """Print a table."""
    table = Table("figure", *figures, title=f"submit of {jobs:,} JSONL prompts, whole command")
    for figure in next(iter(figures.values())):
        table.add_row(
            figure.replace("_", " "), *(f"{each[figure]:,.1f}" for each in figures.values())
        )
    table.add_row("plain Celery, messages a second", *(f"{peer:,.0f}" for _ in figures))
    Console().print(table)


if __name__ == "__main__":
    main()
