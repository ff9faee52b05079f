"""What tenstep's fleet is measured beside: plain Celery, one task an image, as one would write it.

``acks_late`` and a prefetch of one, as its documentation advises for long tasks. The task holds
the device, encodes a PNG, stores it and writes a row.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from functools import cache
from io import BytesIO
from pathlib import Path

from celery import Celery
from PIL import Image

from shared.storage.base import image_key, sha256_of
from shared.storage.folder import FolderStore
from worker.latency import DeviceClock
from worker.slow_store import SlowStore

QUEUE = "plain-celery"
DATABASE = "images.sqlite3"
TABLE = (
    "CREATE TABLE image (number INTEGER, device TEXT, key TEXT, begin_ns INTEGER, end_ns INTEGER)"
)
ROW = "INSERT INTO image VALUES (?, ?, ?, ?, ?)"

app = Celery("plain", set_as_current=False)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue=QUEUE,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="draw")
def draw(number: int, side: int, seconds: float, store_seconds: float, folder: str) -> None:
    """Draw an image, store it, and write its row."""
    begin = time.monotonic_ns()
    _device().work(round(seconds * 1e9))
    end = time.monotonic_ns()
    buffer = BytesIO()
    Image.new("RGB", (side, side), (number % 256, number // 256 % 256, 0)).save(buffer, "PNG")
    png = buffer.getvalue()
    key = image_key(sha256_of(png))
    _store(folder, store_seconds).put(key, png, "image/png")
    with _connection(folder) as connection:
        connection.execute(ROW, (number, str(os.getpid()), key, begin, end))


def make_database(folder: Path) -> None:
    """Make the table that the tasks write to."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(TABLE)


@cache
def _device() -> DeviceClock:
    return DeviceClock()


@cache
def _store(folder: str, seconds: float) -> SlowStore:
    return SlowStore(FolderStore(Path(folder) / "objects"), seconds)


@cache
def _connection(folder: str) -> sqlite3.Connection:
    return sqlite3.connect(Path(folder) / DATABASE, timeout=60)
