"""How a worker's process is started: at once, or ahead of the database that it needs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from shared.domain.identifiers import new_id
from shared.settings import Settings, worker_environment

GO = b"\n"


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A process that was started."""

    process: subprocess.Popen[bytes]
    worker_ids: Sequence[UUID]
    """One a device."""
    log_path: Path

    def let_go(self) -> None:
        """Have it begin, if it waits for that."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # its supervisor finds out why it ended
                self.process.stdin.write(GO)
                self.process.stdin.close()

    def kill(self) -> None:
        """End it, and what it has started, at once, unless it has ended."""
        if self.process.poll() is not None:
            return  # its number may be somebody else's by now
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start_worker_process(
    settings: Settings, worker_ids: Sequence[UUID], *, waits: bool = False
) -> WorkerProcess:
    """Start ``python -m worker`` in a session of its own.

    Args:
        settings: the worker's.
        worker_ids: one for each of its devices.
        waits: whether it imports what it needs, and then waits until it is let go.
    """
    folder = settings.data_dir / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    log_path = folder / f"worker-{worker_ids[0]}.log"
    with log_path.open("ab") as output:
        process = subprocess.Popen(
            # -P: a folder named worker in the current directory must not win.
            [sys.executable, "-P", "-m", "worker"],
            env=worker_environment(settings, worker_ids, waits=waits),
            stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for tenstep, which then asks the worker to drain.
            start_new_session=True,
        )
    return WorkerProcess(process, worker_ids, log_path)


@contextmanager
def head_start(settings: Settings, workers: int) -> Iterator[WorkerProcess | None]:
    """Start a worker on the processor while the database of a new folder is still to be made.

    Nobody else can be at work there, so one will be needed; it takes longer to import what it
    needs than all else before the first image. It is killed at the end: by then a fleet has
    ended it, or nobody has let it go.

    Returns:
        None where it cannot be told yet whether a worker is needed, or which.
    """
    is_new = not (settings.database_url or settings.redis_url or settings.local_database.exists())
    if not (is_new and workers == 1 and settings.device == "cpu"):
        yield None
        return
    ahead = start_worker_process(settings, [new_id()], waits=True)
    try:
        yield ahead
    finally:
        ahead.kill()
