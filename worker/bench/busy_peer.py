"""The run of plain Celery: as many workers, on the same Redis."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import create_engine, func, select, text

from shared.messaging.broker import broker_url
from shared.settings import Settings
from worker.bench.background import Background, running, wait_for
from worker.bench.busy import Busy, BusyPlan, DrawnImage, spans_of
from worker.bench.busy_fleet import START_PATIENCE_SECONDS, patience_seconds
from worker.bench.plain_celery import IMAGES, METADATA, QUEUE, app, draw

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
    url = f"sqlite:///{folder / 'images.sqlite3'}"
    engine = create_engine(url)
    with engine.begin() as connection:
        # Else whoever reads would wait for whoever writes.
        connection.execute(text("PRAGMA journal_mode=WAL"))
        METADATA.create_all(connection)
    app.conf.update(broker_url=broker_url(settings))

    def count() -> int:
        with engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(IMAGES)) or 0

    start = time.monotonic()
    workers = [_start(number, settings, folder) for number in range(plan.devices)]
    with running(workers):
        wait_for(workers, _answering, plan.devices, patience_seconds=START_PATIENCE_SECONDS)
        start_seconds = time.monotonic() - start
        for number in range(plan.images):
            draw.delay(number, side, plan.image_seconds, plan.store_seconds, str(folder), url)
        patience = patience_seconds(plan)
        wait_for(workers, count, plan.images, patience_seconds=patience, tell=tell)
    device_ns = round(plan.image_seconds * 1e9)
    with engine.connect() as connection:
        rows = connection.execute(select(IMAGES.c.device, IMAGES.c.begin_ns, IMAGES.c.end_ns)).all()
    engine.dispose()
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
