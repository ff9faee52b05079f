"""The run of plain Celery: as many workers, on the same Redis."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from shared.messaging.broker import broker_url
from shared.settings import Settings
from worker.bench.background import Background, running, wait_for
from worker.bench.busy import Busy, BusyPlan, DrawnImage, spans_of
from worker.bench.busy_fleet import START_PATIENCE_SECONDS, patience_seconds
from worker.bench.plain_celery import DATABASE, QUEUE, app, draw, make_database

PING_SECONDS = 1.0


def draw_with_celery(
    settings: Settings, plan: BusyPlan, side: int, tell: Callable[[int], None]
) -> Busy:
    """Start workers, send them a task an image, wait, and read what they wrote.

    Args:
        settings: of the fleet whose Redis it is; that has to be running.
        plan: what is drawn.
        side: width and height of an image in pixels.
        tell: told how many images there are.

    Raises:
        TenstepError: a worker ended, or drew nothing more.
    """
    folder = settings.data_dir / "plain-celery"
    folder.mkdir()
    make_database(folder)
    app.conf.update(broker_url=broker_url(settings))
    start = time.monotonic()
    workers = [_start(number, settings, folder) for number in range(plan.devices)]
    with running(workers), closing(sqlite3.connect(folder / DATABASE)) as connection:
        wait_for(workers, _answering, plan.devices, patience_seconds=START_PATIENCE_SECONDS)
        start_seconds = time.monotonic() - start
        for number in range(plan.images):
            draw.delay(number, side, plan.image_seconds, plan.store_seconds, str(folder))
        wait_for(
            workers,
            lambda: int(connection.execute("SELECT count(*) FROM image").fetchone()[0]),
            plan.images,
            patience_seconds=patience_seconds(plan),
            tell=tell,
        )
        rows = connection.execute("SELECT device, begin_ns, end_ns FROM image").fetchall()
    device_ns = round(plan.image_seconds * 1e9)
    drawn = (DrawnImage(device, begin, end, device_ns) for device, begin, end in rows)
    return Busy(spans_of(drawn), start_seconds)


def _start(number: int, settings: Settings, folder: Path) -> Background:
    return Background(
        [
            *(sys.executable, "-P", "-m", "celery", "-A", "worker.bench.plain_celery"),
            *("-b", broker_url(settings), "worker", "--concurrency=1", "--loglevel=WARNING"),
            *(f"--queues={QUEUE}", f"--hostname=plain-{number}@tenstep"),
        ],
        folder / f"worker-{number}.log",
    )


def _answering() -> int:
    return len(app.control.ping(timeout=PING_SECONDS) or ())
