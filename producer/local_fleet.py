"""Worker processes on this host: started, watched, started again, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy import select

from shared.db.conditions import IS_LEASED
from shared.db.engine import Database
from shared.db.lost_leases import release_worker
from shared.db.tables import Job, Worker
from shared.domain.identifiers import new_id
from shared.errors import ConfigurationError, TenstepError
from shared.settings import Settings, worker_environment

log = structlog.get_logger()

MAX_FAILED_STARTS = 3
RESTART_DELAYS_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
ERROR = "error: "
KILL_WAIT_SECONDS = 10
STEADY = timedelta(seconds=5)
"""A worker that was at work for so long dies of something else than of its start."""


class LocalWorker:
    """One supervised worker: ``python -m worker`` in a session of its own."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._process: subprocess.Popen[bytes] | None = None
        self._worker_id: UUID = new_id()
        self._log_path = Path()
        self._is_stopping = False
        self._crashes = 0
        self._failed_starts = 0
        self._start_after = 0.0

    @property
    def worker_id(self) -> UUID:
        """The id of its present, or next, process."""
        return self._worker_id

    def start(self) -> None:
        """Start the process; it registers itself when its model is loaded."""
        self._worker_id = new_id()
        folder = self._settings.data_dir / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        self._log_path = folder / f"worker-{self._worker_id}.log"
        with self._log_path.open("ab") as output:
            self._process = subprocess.Popen(
                # -P: a folder named worker in the current directory must not win.
                [sys.executable, "-P", "-m", "worker"],
                env=worker_environment(self._settings, [self._worker_id]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for tenstep, which then asks the worker to drain.
                start_new_session=True,
            )
        self._is_stopping = False

    def supervise(self) -> None:
        """Start the process again if it has died, with back-off, and free its jobs.

        Raises:
            TenstepError: it died several times before it was ready.
        """
        if self._process is None:
            if time.monotonic() >= self._start_after:
                self.start()
            return
        status = self._process.poll()
        if status is None:
            return
        log.warning("worker_died", worker_id=str(self._worker_id), status=status)
        self._bury()
        if self._failed_starts:
            self._give_up_if_hopeless(status)
        delay = RESTART_DELAYS_SECONDS[min(self._crashes, len(RESTART_DELAYS_SECONDS) - 1)]
        self._crashes += 1
        self._start_after = time.monotonic() + delay

    def ask_to_stop(self) -> None:
        """Have it give back its jobs and end."""
        if self._process is not None and not self._is_stopping:
            self._process.terminate()
            self._is_stopping = True

    def end_if_idle(self) -> None:
        """End it at once if no job is in its hands; Celery alone would take seconds."""
        with self._database.read() as session:
            held = session.scalar(
                select(Job.id).where(IS_LEASED, Job.worker_id == self._worker_id).limit(1)
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
            log.warning("worker_killed", worker_id=str(self._worker_id))
        self._bury()

    def _bury(self) -> None:
        """End what is left of the process's session, and free its jobs."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(KILL_WAIT_SECONDS)
        with self._database.write() as session:
            worker = session.get(Worker, self._worker_id)
            self._failed_starts = self._failed_starts + 1 if worker is None else 0
            if worker is not None and worker.heartbeat_at - worker.started_at >= STEADY:
                self._crashes = 0
            now = self._database.now(session)
            release_worker(session, self._worker_id, now, self._settings.max_attempts)

    def _give_up_if_hopeless(self, status: int) -> None:
        """Raise what the worker itself calls an error; other deaths may be chance."""
        lines = self._log_path.read_text("utf-8", errors="replace").splitlines()
        errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
        if errors:
            raise ConfigurationError(f"the worker does not start: {errors[-1]}")
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise TenstepError(
                f"the worker does not start: it ended with status {status}, "
                f"{self._failed_starts} times",
                hint=f"Its log is {self._log_path}.",
            )


class LocalFleet:
    """Some workers of one kind on this host."""

    def __init__(self, settings: Settings, database: Database, count: int) -> None:
        self._grace_seconds = settings.stop_grace_seconds
        if not settings.cpu_threads and count > 1:
            # Two workers that each take every core draw at less than half the rate of one.
            cores = os.cpu_count() or 1
            settings = settings.model_copy(update={"cpu_threads": max(1, cores // count)})
        self._workers = [LocalWorker(settings, database) for _ in range(count)]

    @property
    def worker_ids(self) -> set[UUID]:
        """The ids of the present processes."""
        return {worker.worker_id for worker in self._workers}

    def start(self) -> None:
        """Start all."""
        for worker in self._workers:
            worker.start()

    def supervise(self) -> None:
        """Start again those that died."""
        for worker in self._workers:
            worker.supervise()

    def ask_to_stop(self) -> None:
        """Have all give back their jobs and end."""
        for worker in self._workers:
            worker.ask_to_stop()

    def stop(self) -> None:
        """Stop all, at the same time; kills those that take too long."""
        self.ask_to_stop()
        deadline = time.monotonic() + self._grace_seconds
        for worker in self._workers:
            worker.wait_or_kill(max(0.0, deadline - time.monotonic()))

    def end_idle(self) -> None:
        """End those that have nothing in hand: there is nothing to wait for."""
        for worker in self._workers:
            worker.end_if_idle()
