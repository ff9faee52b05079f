"""What tenstep's fleet is measured beside: plain Celery, one task an image, as one would write it.

``acks_late`` and a prefetch of one, as its documentation advises for long tasks. The task holds
the device, encodes a PNG, stores it and writes a row.
"""

from __future__ import annotations

import os
import threading
import time
from functools import cache
from io import BytesIO
from pathlib import Path

from celery import Celery
from PIL import Image
from sqlalchemy import BigInteger, Column, Engine, Integer, MetaData, String, Table, create_engine

from shared.storage.base import image_key, sha256_of
from shared.storage.folder import FolderStore
from worker.latency import DeviceClock
from worker.slow_store import SlowStore

QUEUE = "plain-celery"
METADATA = MetaData()
IMAGES = Table(
    "plain_image",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("device", String(64)),
    Column("key", String(128)),
    Column("begin_ns", BigInteger),
    Column("end_ns", BigInteger),
)

app = Celery("plain", set_as_current=False)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue=QUEUE,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)


class _OfThread(threading.local):
    """Each thread is a device of its own, where a process has several."""

    def __init__(self) -> None:
        self.clock = DeviceClock()


_OF_THREAD = _OfThread()


@app.task(name="draw")
def draw(
    number: int, side: int, seconds: float, store_seconds: float, folder: str, database_url: str
) -> None:
    """Draw an image, store it, and write its row."""
    device = f"{os.getpid()}:{threading.get_ident()}"
    begin = time.monotonic_ns()
    _OF_THREAD.clock.work(round(seconds * 1e9))
    end = time.monotonic_ns()
    buffer = BytesIO()
    Image.new("RGB", (side, side), (number % 256, number // 256 % 256, 0)).save(buffer, "PNG")
    png = buffer.getvalue()
    key = image_key(sha256_of(png))
    _store(folder, store_seconds).put(key, png, "image/png")
    row = {"number": number, "device": device, "key": key, "begin_ns": begin, "end_ns": end}
    with _engine(database_url).begin() as connection:
        connection.execute(IMAGES.insert(), row)


@cache
def _store(folder: str, seconds: float) -> SlowStore:
    return SlowStore(FolderStore(Path(folder) / "objects"), seconds)


@cache
def _engine(database_url: str) -> Engine:
    return create_engine(database_url)
