"""One supervised worker process: started, watched, started again, stopped."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy import select

from producer.worker_ends import read_end
from producer.worker_process import WorkerProcess, start_worker_process
from shared.db.conditions import IS_LEASED
from shared.db.device_faults import clear_fault, note_fault
from shared.db.engine import Database
from shared.db.fault_tables import DeviceFault
from shared.db.lost_leases import release_worker
from shared.db.tables import Job, Worker
from shared.domain.devices import Device
from shared.domain.identifiers import new_id
from shared.process import RECYCLED
from shared.settings import Settings

log = structlog.get_logger()

MOST_FAILURES = 3
"""In a row; then its device is taken out."""
RESTART_DELAYS_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
KILL_WAIT_SECONDS = 10
STEADY = timedelta(seconds=5)
"""A worker that was at work for so long dies of something else than of its start."""
SOUND = timedelta(minutes=10)
"""A device that was not lost for so long is not lost in a row."""


class LocalWorker:
    """``python -m worker`` in a session of its own, on a device, or on several simulated ones."""

    def __init__(
        self, settings: Settings, database: Database, ahead: WorkerProcess | None = None
    ) -> None:
        """Start nothing yet.

        Args:
            settings: the worker's.
            database: where it registers.
            ahead: its first process, where that was started already.
        """
        self._ahead = ahead
        self._settings = settings
        self._database = database
        self._devices = Device.parse_all(settings.device)
        self._process: subprocess.Popen[bytes] | None = None
        self._worker_ids = self._new_ids()
        self._log_path = Path()
        self._is_stopping = False
        self._is_ready = False
        self._crashes = 0
        self._failed_starts = 0
        self._losses = 0
        self._fault: str | None = None
        self._start_after = 0.0

    @property
    def worker_ids(self) -> Sequence[UUID]:
        """The ids of its present, or next, process: one a device."""
        return self._worker_ids

    @property
    def device(self) -> str:
        """What its process is pinned to."""
        return self._settings.device

    @property
    def fault(self) -> str | None:
        """Why its device was taken out, if it was: it is seldom tried again."""
        return self._fault

    @property
    def log_path(self) -> Path:
        """Where its present, or last, process writes."""
        return self._log_path

    def start(self) -> None:
        """Start the process; it registers itself when its model is loaded."""
        started = self._ahead or start_worker_process(self._settings, self._new_ids())
        self._ahead = None
        started.let_go()
        self._process = started.process
        self._worker_ids, self._log_path = started.worker_ids, started.log_path
        self._is_stopping = False
        self._is_ready = False

    def supervise(self) -> None:
        """Start the process again if it has died, with back-off, and free its jobs.

        Raises:
            ConfigurationError: it does not start, and its device is not to blame.
        """
        if self._process is None:
            if time.monotonic() >= self._start_after:
                self.start()
            return
        status = self._process.poll()
        if status is None:
            if not self._is_ready:
                self._look_whether_ready()
            return
        self._bury()
        if status == RECYCLED:
            log.info("worker_recycled", worker_id=str(self._worker_ids[0]))
            self.start()
            return
        log.warning("worker_died", worker_id=str(self._worker_ids[0]), status=status)
        self._start_after = time.monotonic() + self._delay_after(status)

    def ask_to_stop(self) -> None:
        """Have it give back its jobs and end."""
        if self._process is not None and not self._is_stopping:
            self._process.terminate()
            self._is_stopping = True

    def end_if_idle(self) -> None:
        """End it at once if no job is in its hands; Celery alone would take seconds.

        One that traces is left to end by itself: its last spans are still to be sent.
        """
        if self._settings.traces:
            return
        with self._database.read() as session:
            held = session.scalar(
                select(Job.id).where(IS_LEASED, Job.worker_id.in_(self._worker_ids)).limit(1)
            )
        if held is None:
            self._bury()

    def wait_or_kill(self, grace_seconds: float) -> None:
        """Wait for its end; insist after ``grace_seconds``."""
        if self._process is None:
            return
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            log.warning("worker_killed", worker_id=str(self._worker_ids[0]))
        self._bury()

    def _new_ids(self) -> Sequence[UUID]:
        return [new_id() for _ in self._devices]

    def _look_whether_ready(self) -> None:
        with self._database.read() as session:
            self._is_ready = session.get(Worker, self._worker_ids[-1]) is not None
        if self._is_ready:
            with self._database.write() as session:
                clear_fault(session, platform.node(), self.device)
            self._fault = None

    def _bury(self) -> None:
        """End what is left of the process's session, and free its jobs."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(KILL_WAIT_SECONDS)
        with self._database.write() as session:
            worker = session.get(Worker, self._worker_ids[0])
            self._count_failures(worker)
            now = self._database.now(session)
            for worker_id in self._worker_ids:
                release_worker(session, worker_id, now, self._settings.max_attempts)

    def _count_failures(self, worker: Worker | None) -> None:
        if worker is None:
            self._failed_starts += 1
            return
        self._failed_starts = 0
        lived = worker.heartbeat_at - worker.started_at
        if lived >= STEADY:
            self._crashes = 0
        if lived >= SOUND:
            self._losses = 0

    def _delay_after(self, status: int) -> float:
        """Return for how many seconds to wait until the next start, and judge the device."""
        end = read_end(self._log_path, status, was_ready=not self._failed_starts)
        if end.is_of_device:
            self._losses += 1
        is_out = end.is_certain or max(self._losses, self._failed_starts) >= MOST_FAILURES
        if is_out:
            self._take_out(end.reason)
            return self._settings.device_retry_seconds
        delay = RESTART_DELAYS_SECONDS[min(self._crashes, len(RESTART_DELAYS_SECONDS) - 1)]
        self._crashes += 1
        return delay

    def _take_out(self, reason: str) -> None:
        if self._fault is None:
            log.error("device_taken_out", device=self.device, reason=reason)
        self._fault = reason
        with self._database.write() as session:
            now = self._database.now(session)
            fault = DeviceFault(
                host=platform.node(),
                device=self.device,
                device_kind=self._devices[0].kind,
                device_sku=self._settings.device_sku,
                model=self._settings.model,
                since=now,
                last_seen=now,
                reason=reason,
            )
            note_fault(session, fault)
