"""The real ``tenstep`` command, in processes of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

TENSTEP = str(Path(sys.executable).with_name("tenstep"))
COMMAND_SECONDS = 240
POLL_SECONDS = 0.05


def tenstep(
    environment: Mapping[str, str], *arguments: str, cwd: Path, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; whatever its exit code."""
    return subprocess.run(
        [TENSTEP, *arguments],
        env=dict(environment),
        cwd=cwd,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


def tenstep_json(environment: Mapping[str, str], *arguments: str, cwd: Path) -> Any:
    """Run a command that has to succeed, and read what it printed as JSON."""
    done = tenstep(environment, *arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def running(
    environment: Mapping[str, str], *arguments: str, cwd: Path
) -> Iterator[subprocess.Popen[str]]:
    """Run a command in the background; at the end it is stopped as Ctrl-C would."""
    process = subprocess.Popen(
        [TENSTEP, *arguments],
        env=dict(environment),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


def wait_until(condition: Callable[[], bool], *, seconds: float = 120) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(POLL_SECONDS)


def worker_processes(data_dir: Path) -> Sequence[psutil.Process]:
    """Find the workers of one data folder, Celery's parents and children alike."""
    return list(_found(data_dir, _has_data_dir))


def redis_processes(data_dir: Path) -> Sequence[psutil.Process]:
    """Find the Redis that tenstep runs for one data folder."""
    return list(_found(data_dir, _is_redis))


def processes_of(data_dir: Path) -> Sequence[psutil.Process]:
    """Find every process that belongs to one data folder: workers, their children, Redis."""
    return [*worker_processes(data_dir), *redis_processes(data_dir)]


def _found(
    data_dir: Path, belongs: Callable[[psutil.Process, Path], bool]
) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if belongs(process, data_dir) and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def _has_data_dir(process: psutil.Process, data_dir: Path) -> bool:
    return process.environ().get("TENSTEP_DATA_DIR") == str(data_dir)


def _is_redis(process: psutil.Process, data_dir: Path) -> bool:
    """Tell by where it works: it writes its title over its environment."""
    return process.name().startswith("valkey") and process.cwd() == str(data_dir / "redis")
