"""Worker processes on this host: started, watched, started again, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import structlog

from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.leases import release_worker
from shared.db.tables import Worker
from shared.domain.identifiers import new_id
from shared.errors import TenstepError
from shared.settings import Settings, child_environment

log = structlog.get_logger()

MAX_FAILED_STARTS = 3
RESTART_DELAYS_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
LOG_TAIL_LINES = 5
KILL_WAIT_SECONDS = 10


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
                env=child_environment(self._settings, self._worker_id),
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
        if self._failed_starts >= MAX_FAILED_STARTS or status == TenstepError.exit_code + 1:
            raise TenstepError(
                f"the worker does not start: {self._last_words()}",
                hint=f"Its log is {self._log_path}.",
            )
        delay = RESTART_DELAYS_SECONDS[min(self._crashes, len(RESTART_DELAYS_SECONDS) - 1)]
        self._crashes += 1
        self._start_after = time.monotonic() + delay

    def ask_to_stop(self) -> None:
        """Have it give back its jobs and end."""
        if self._process is not None and not self._is_stopping:
            self._process.terminate()
            self._is_stopping = True

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
            was_ready = session.get(Worker, self._worker_id) is not None
            self._failed_starts = 0 if was_ready else self._failed_starts + 1
            release_worker(session, self._worker_id, utc_now(), self._settings.max_attempts)

    def _last_words(self) -> str:
        lines = self._log_path.read_text("utf-8", errors="replace").splitlines()
        return " ".join(lines[-LOG_TAIL_LINES:])[-500:] or "it left no log"


class LocalFleet:
    """Some workers of one kind on this host."""

    def __init__(self, settings: Settings, database: Database, count: int) -> None:
        self._grace_seconds = settings.stop_grace_seconds
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

    def kill(self) -> None:
        """End all at once; what they held is pending again."""
        for worker in self._workers:
            worker.wait_or_kill(0)
