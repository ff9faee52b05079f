"""A worker's process: one device, or several simulated ones."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from uuid import UUID

import structlog

from shared.db.fleet import note_stopping
from shared.messaging.contracts import RenderChunk
from shared.settings import Settings
from worker.chunk import render_chunk
from worker.device_faults import tell_why
from worker.devices import Device
from worker.heartbeat import start_heartbeat, write_down
from worker.log_context import about_chunk
from worker.retry import DeviceLostError
from worker.runtime import Runtime, Shared, share, start_runtime
from worker.traces import trace_chunk
from worker.turns import PLACES, WaitForTurn

log = structlog.get_logger()


class WorkerProcess:
    """Its devices, each a worker of its own."""

    def __init__(self, shared: Shared, runtimes: Sequence[Runtime]) -> None:
        self.runtimes = runtimes
        self._shared = shared
        self._choosing = threading.Lock()
        self._in_turn = list(runtimes)
        self.after_chunk: Callable[[], None] = lambda: None
        """Called whenever a chunk has left its device."""

    @property
    def places(self) -> int:
        """How many chunks it may have at its devices."""
        return PLACES * len(self.runtimes)

    def render(self, message: RenderChunk, traceparent: str | None = None) -> None:
        """Draw a chunk on the device that has least to do; see `render_chunk`.

        Args:
            message: which.
            traceparent: of the span that it was sent in.
        """
        with self._place() as (runtime, wait_for_turn):
            trace = trace_chunk(runtime.worker_id, runtime.device_kind, message, traceparent)
            traced = runtime if trace is None else replace(runtime, trace=trace)
            with about_chunk(traced, message):
                try:
                    render_chunk(traced, message, wait_for_turn)
                except DeviceLostError as error:
                    # In its place still: what waits behind it must not go in, and be to blame.
                    self._end_with_device(error)
        self.after_chunk()

    @property
    def images_drawn(self) -> int:
        """By all its devices, since it was started."""
        return sum(runtime.in_hand.images_drawn for runtime in self.runtimes)

    def wait_for_images(self) -> None:
        """Wait until all that was drawn is in the books."""
        for runtime in self.runtimes:
            runtime.in_hand.wait_for_images()

    def note_stopping(self) -> None:
        """Have its workers begin nothing more."""
        database = self._shared.database
        with database.write() as session:
            now = database.now(session)
            for runtime in self.runtimes:
                note_stopping(session, runtime.worker_id, now)

    def stop(self) -> None:
        """Finish what is on its way to the store, and record the workers' orderly end."""
        self._shared.outbox.close()
        self._shared.bookkeeper.close()
        write_down(self._shared, self.runtimes, stops=True)
        self._shared.database.close()

    def _end_with_device(self, error: DeviceLostError) -> None:
        """End the process, for only that frees a lost device; its supervisor starts another."""
        log.error("device_lost", exc_info=error)
        tell_why(error)
        self.wait_for_images()
        os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def _place(self) -> Iterator[tuple[Runtime, WaitForTurn]]:
        with ExitStack() as stack:
            with self._choosing:
                # Of those that have as little to do, the one whose last chunk is longest ago.
                runtime = min(self._in_turn, key=lambda one: one.turns.taken)
                self._in_turn = [one for one in self._in_turn if one is not runtime] + [runtime]
                wait_for_turn = stack.enter_context(runtime.turns.place())
            yield runtime, wait_for_turn


def start_process(
    settings: Settings, devices: Sequence[Device], worker_ids: Sequence[UUID]
) -> WorkerProcess:
    """Load the model on each device; from then on its workers are alive.

    Raises:
        ConfigurationError: the model or the device's price is missing.
        ServiceUnavailableError: the database does not answer.
    """
    shared = share(settings, len(devices))
    runtimes = [
        start_runtime(shared, device, worker_id)
        for device, worker_id in zip(devices, worker_ids, strict=True)
    ]
    start_heartbeat(shared, runtimes)
    return WorkerProcess(shared, runtimes)
