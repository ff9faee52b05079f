"""Hundreds of simulated devices on this machine: how much of what they could draw is drawn.

    PYTHONPATH=infra:tests python infra/benchmarks/fleet.py --devices 200

A fleet as anybody would start it, some processes with many devices each, on Postgres and Redis of
its own, with all books kept; and plain Celery beside it, whose devices are threads, for as many
processes of it would not fit this machine's memory. Each device's rate is taken from the end of
its first chunk in the window to the end of its last, so that it does not matter where in a chunk
the window begins. What processes take is their processor time in the window.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import create_engine, func, select

from benchmarks.samples import SAMPLES, hot_spots
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.tables import Attempt, Worker
from shared.domain.jobs import AttemptOutcome
from support.commands import TENSTEP, running, wait_until
from support.postgres import run_postgres
from support.valkey import RedisServer, run_valkey
from worker.bench.plain_celery import IMAGES, METADATA, QUEUE, app, draw

SIDE = 64
START_SECONDS = 180
SAMPLING = Path(__file__).parent / "sampling"


class Plan(NamedTuple):
    """What runs for how long."""

    devices: int
    processes: int
    image_seconds: float
    warm_up_seconds: float
    window_seconds: float
    database: str

    @property
    def ideal(self) -> float:
        """Images a second of devices that never wait."""
        return self.devices / self.image_seconds

    @property
    def images(self) -> int:
        """More than can be drawn until the window ends."""
        return int(self.ideal * (self.warm_up_seconds + self.window_seconds + 30))


class Rate(NamedTuple):
    """What came of a window."""

    images_per_second: float
    images: int
    window_seconds: float
    cpu_ms_per_image: Mapping[str, float]
    """By what the processes are."""
    memory_megabytes: float
    """Of all processes but the database's and Redis's, shared pages counted once."""


class Done(NamedTuple):
    """One image, or all of a chunk."""

    device: str
    at: float
    """Seconds of some clock."""
    images: int


def rate_of(chunks: Sequence[Done]) -> float:
    """Add up the rates of devices, each from the end of its first chunk to that of its last."""
    by_device: dict[str, list[Done]] = defaultdict(list)
    for chunk in sorted(chunks, key=lambda chunk: chunk.at):
        by_device[chunk.device].append(chunk)
    return sum(
        sum(chunk.images for chunk in rest) / (rest[-1].at - first.at)
        for first, *rest in by_device.values()
        if rest
    )


@contextmanager
def cpu_measured(names: Callable[[], Mapping[int, str]]) -> Iterator[dict[str, float]]:
    """Sum processor seconds of the block by the names of processes."""
    taken: dict[str, float] = defaultdict(float)
    before = _cpu_seconds(names())
    yield taken
    for pid, (name, seconds) in _cpu_seconds(names()).items():
        taken[name] += seconds - before.get(pid, (name, 0.0))[1]


def _cpu_seconds(names: Mapping[int, str]) -> Mapping[int, tuple[str, float]]:
    found = {}
    for pid, name in names.items():
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        found[pid] = (name, times.user + times.system)
    return found


def child_named(name: str) -> int:
    """Find a process that this one has started."""
    return next(child.pid for child in psutil.Process().children() if child.name() == name)


def process_names(roots: Mapping[str, int]) -> Mapping[int, str]:
    """Name processes by the root that they are below."""
    names: dict[int, str] = {}
    for name, pid in roots.items():
        root = psutil.Process(pid)
        names |= {process.pid: name for process in [root, *root.children(recursive=True)]}
    return names


def megabytes(names: Mapping[int, str], wanted: Sequence[str]) -> float:
    """Sum the memory of processes."""
    total = 0
    for pid, name in names.items():
        if name in wanted:
            total += psutil.Process(pid).memory_full_info().pss
    return total / 1e6


def measure_tenstep(
    plan: Plan, environment: dict[str, str], servers: Mapping[str, int], watch: Progress
) -> Rate:
    """Start the fleet, submit, wait, measure."""
    folder = Path(environment["TENSTEP_DATA_DIR"])
    folder.mkdir()
    url = environment.get("TENSTEP_DATABASE_URL", f"sqlite:///{folder / 'tenstep.sqlite3'}")
    database = Database(url)
    migrate(database)
    prompts = folder / "prompts.jsonl"
    with prompts.open("w") as file:
        file.writelines(json.dumps({"prompt": f"image {i}"}) + "\n" for i in range(plan.images))
    subprocess.run([TENSTEP, "submit", prompts], env=environment, check=True, capture_output=True)
    with (
        running(environment, "dispatch", cwd=folder) as dispatcher,
        running(environment, "worker", *_device_options(plan), cwd=folder) as workers,
    ):
        wait_until(lambda: _ready(database) >= plan.devices, seconds=START_SECONDS)
        _sleep(plan.warm_up_seconds, "tenstep warms up", watch)

        def names() -> Mapping[int, str]:
            roots = {"dispatcher": dispatcher.pid, "workers": workers.pid, **servers}
            return process_names(roots)

        with database.read() as session:
            begin = database.now(session)
        with cpu_measured(names) as cpu:
            _sleep(plan.window_seconds, "tenstep draws", watch)
            with database.read() as session:
                end = database.now(session)
        held = megabytes(names(), ["dispatcher", "workers"])
        chunks = _chunks(database, begin, end)
        workers.kill()
        for pid, name in names().items():
            if name == "workers":
                psutil.Process(pid).kill()
    database.close()
    images = sum(chunk.images for chunk in chunks)
    return Rate(
        rate_of(chunks),
        images,
        (end - begin).total_seconds(),
        {name: 1000 * seconds / images for name, seconds in cpu.items()},
        held,
    )


def _device_options(plan: Plan) -> Iterator[str]:
    share = plan.devices // plan.processes
    for number in range(plan.processes):
        yield from ("--device", f"simulated:{number * share}-{(number + 1) * share - 1}")


def _ready(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Worker)) or 0


def _chunks(database: Database, begin: datetime, end: datetime) -> Sequence[Done]:
    """Read which chunks were finished between two moments."""
    chunks = (
        select(Attempt.worker_id, func.max(Attempt.finished_at), func.count())
        .where(
            Attempt.outcome == AttemptOutcome.DONE,
            Attempt.finished_at.between(begin, end),
        )
        .group_by(Attempt.worker_id, Attempt.chunk_id)
    )
    with database.read() as session:
        rows = session.execute(chunks).all()
    return [Done(str(worker), at.timestamp(), images) for worker, at, images in rows if at]


def measure_celery(
    plan: Plan,
    folder: Path,
    redis: RedisServer,
    url: str,
    servers: Mapping[str, int],
    watch: Progress,
) -> Rate:
    """Start as many threads, send a task an image, wait, measure."""
    engine = create_engine(url)
    METADATA.create_all(engine)
    folder.mkdir()
    app.conf.update(broker_url=redis.url)
    for number in range(plan.images):
        draw.delay(number, SIDE, plan.image_seconds, 0.0, str(folder), url)
    share = plan.devices // plan.processes
    workers = [_celery_process(number, share, redis, folder) for number in range(plan.processes)]
    try:
        wait_until(lambda: len(app.control.ping(timeout=1) or ()) == plan.processes)
        _sleep(plan.warm_up_seconds, "plain Celery warms up", watch)

        def names() -> Mapping[int, str]:
            roots = {f"workers {worker.pid}": worker.pid for worker in workers}
            found = process_names({**roots, **servers})
            return {pid: name.split()[0] for pid, name in found.items()}

        begin = time.monotonic_ns()
        with cpu_measured(names) as cpu:
            _sleep(plan.window_seconds, "plain Celery draws", watch)
            end = time.monotonic_ns()
        held = megabytes(names(), ["workers"])
        ends = select(IMAGES.c.device, IMAGES.c.end_ns).where(IMAGES.c.end_ns.between(begin, end))
        with engine.connect() as connection:
            images = [Done(device, at / 1e9, 1) for device, at in connection.execute(ends)]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
        engine.dispose()
    return Rate(
        rate_of(images),
        len(images),
        (end - begin) / 1e9,
        {name: 1000 * seconds / len(images) for name, seconds in cpu.items()},
        held,
    )


def _celery_process(
    number: int, threads: int, redis: RedisServer, folder: Path
) -> subprocess.Popen[bytes]:
    with (folder / f"celery-{number}.log").open("wb") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "celery", "-A", "worker.bench.plain_celery"),
                *("-b", redis.url, "worker", "--pool=threads", f"--concurrency={threads}"),
                *(f"--queues={QUEUE}", f"--hostname=plain-{number}@tenstep", "--loglevel=WARNING"),
            ],
            stdout=log,
            stderr=log,
        )


def _sleep(seconds: float, what: str, watch: Progress) -> None:
    task = watch.add_task(what, total=seconds)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        watch.update(task, completed=seconds - max(0.0, left))


def environment_for(
    plan: Plan, folder: Path, redis: RedisServer, url: str | None
) -> dict[str, str]:
    """Return the environment of the fleet."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TENSTEP_")},
        "TENSTEP_DATA_DIR": str(folder),
        "TENSTEP_REDIS_URL": redis.url,
        "TENSTEP_SIMULATED_IMAGE_SECONDS": str(plan.image_seconds),
    }
    return environment if url is None else {**environment, "TENSTEP_DATABASE_URL": url}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--processes", type=int, default=4, help="that share the devices")
    parser.add_argument("--image-seconds", type=float, default=0.94)
    parser.add_argument("--warm-up", type=float, default=20, help="seconds before the window")
    parser.add_argument("--window", type=float, default=60, help="seconds that count")
    parser.add_argument("--database", choices=("postgres", "sqlite"), default="postgres")
    parser.add_argument("--no-peer", action="store_true", help="without plain Celery")
    parser.add_argument("--profile", action="store_true", help="show where workers spend time")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    plan = Plan(
        *(asked.devices, asked.processes, asked.image_seconds),
        *(asked.warm_up, asked.window, asked.database),
    )
    rates: dict[str, Rate] = {}
    with (
        tempfile.TemporaryDirectory(prefix="tenstep-fleet-", ignore_cleanup_errors=True) as name,
        run_valkey() as redis,
        run_postgres() as postgres,
        Progress(console=Console(stderr=True), transient=True) as watch,
    ):
        folder = Path(name)
        servers = {"redis": redis.server.process.pid, "database": child_named("postgres")}
        url = postgres.url(postgres.create_database()) if plan.database == "postgres" else None
        environment = environment_for(plan, folder / "tenstep", redis, url)
        if asked.profile:
            (folder / "samples").mkdir()
            environment |= {SAMPLES: str(folder / "samples")}
            environment["PYTHONPATH"] = f"{SAMPLING}:{environment.get('PYTHONPATH', '')}"
        rates["tenstep"] = measure_tenstep(plan, environment, servers, watch)
        spots = hot_spots(folder / "samples") if asked.profile else []
        if not asked.no_peer:
            redis.flush()
            url = postgres.url(postgres.create_database())
            rates["plain Celery, threads"] = measure_celery(
                plan, folder / "celery", redis, url, servers, watch
            )
    if asked.json:
        print(json.dumps(_as_json(plan, rates), indent=2))
        return
    show(plan, rates)
    for share, where in spots:
        print(f"{share:6.1%}  {where}")


def _as_json(plan: Plan, rates: Mapping[str, Rate]) -> dict[str, Any]:
    return {
        **plan._asdict(),
        "ideal_images_per_second": plan.ideal,
        **{
            name: {**rate._asdict(), "share_of_ideal": rate.images_per_second / plan.ideal}
            for name, rate in rates.items()
        },
    }


def show(plan: Plan, rates: Mapping[str, Rate]) -> None:
    """Print a table."""
    title = (
        f"{plan.devices} simulated devices in {plan.processes} processes, "
        f"{plan.image_seconds:g} s an image, {plan.database}"
    )
    table = Table("figure", *rates, title=title)
    every = list(rates.values())
    table.add_row("images a second", *(f"{rate.images_per_second:.1f}" for rate in every))
    shares = (f"{rate.images_per_second / plan.ideal:.2%}" for rate in every)
    table.add_row(f"of the ideal {plan.ideal:.1f}", *shares)
    counted = (f"{rate.images / rate.window_seconds:.1f}" for rate in every)
    table.add_row("images in the window a second", *counted)
    for name in dict.fromkeys(name for rate in every for name in rate.cpu_ms_per_image):
        cells = (rate.cpu_ms_per_image.get(name) for rate in every)
        table.add_row(
            f"CPU ms an image, {name}", *("" if ms is None else f"{ms:.2f}" for ms in cells)
        )
    table.add_row("memory, MB", *(f"{rate.memory_megabytes:.0f}" for rate in every))
    Console().print(table)


if __name__ == "__main__":
    main()
