"""A worker's process, but for the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from shared.messaging.contracts import RenderChunk
from shared.settings import Settings
from worker.chunk import render_chunk
from worker.devices import Device
from worker.process import WorkerProcess, start_process
from worker.runtime import Runtime


def start_worker(settings: Settings, worker_id: UUID) -> WorkerProcess:
    """Load the model of one worker, and have it live."""
    return start_process(settings, [Device.parse(settings.device)], [worker_id])


@contextmanager
def started(settings: Settings, worker_id: UUID) -> Iterator[Runtime]:
    """Have a worker until the block ends."""
    process = start_worker(settings, worker_id)
    yield process.runtimes[0]
    process.stop()


def render(runtime: Runtime, message: RenderChunk) -> None:
    """Draw a chunk, and wait until its images are in the books."""
    try:
        with runtime.turns.place() as wait_for_turn:
            render_chunk(runtime, message, wait_for_turn)
    finally:
        runtime.in_hand.wait_for_images()
