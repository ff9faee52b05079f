"""Plain Celery under the same kills as tenstep's workers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import psutil

from chaos.plain_celery import REDELIVERS
from support.valkey import run_valkey

KILL_EVERY_SECONDS = 2.0
STILL_SECONDS = 15.0
"""Without an image for so long, it is not merely slow."""
MOST_SECONDS = 120.0
POLL_SECONDS = 0.1
STOP_SECONDS = 10
INFRA = Path(__file__).parents[1]


@dataclass(frozen=True)
class PlainOutcome:
    """What became of it."""

    setup: str
    jobs: int
    drawn: int
    missing: int
    """Jobs that were not drawn when nothing happened any more."""
    twice: int
    """Jobs that were drawn more than once."""
    kills: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def play_plain_celery(*, jobs: int, workers: int, redelivers: bool) -> PlainOutcome:
    """Enqueue jobs, kill a worker's child or parent every 2 s, and count what was drawn."""
    folder = Path(tempfile.mkdtemp(prefix="tenstep-chaos-celery-"))
    try:
        with run_valkey() as redis:
            environment = {
                **os.environ,
                "PYTHONPATH": str(INFRA),
                "CHAOS_BROKER": redis.url,
                "CHAOS_DRAWN": str(folder / "drawn"),
                **({REDELIVERS: "1"} if redelivers else {}),
            }
            enqueue = "import chaos.plain_celery as c, sys\n"
            enqueue += "for number in range(int(sys.argv[1])): c.draw.delay(number)"
            subprocess.run([sys.executable, "-c", enqueue, str(jobs)], env=environment, check=True)
            return _play(folder, environment, jobs, workers, redelivers=redelivers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _play(
    folder: Path, environment: dict[str, str], jobs: int, workers: int, *, redelivers: bool
) -> PlainOutcome:
    random = Random(jobs)  # noqa: S311 - chaos that can be repeated
    running: list[subprocess.Popen[bytes] | None] = [None] * workers
    begin = last_kill = last_change = time.monotonic()
    drawn: Counter[str] = Counter()
    kills = 0
    with (folder / "log").open("ab") as log:
        try:
            while (now := time.monotonic()) - begin < MOST_SECONDS and len(drawn) < jobs:
                for index, process in enumerate(running):
                    if process is None or process.poll() is not None:
                        _end(process)
                        running[index] = _start(index, environment, folder, log)
                seen = _drawn(folder)
                if seen != drawn:
                    drawn, last_change = seen, now
                if drawn and now - last_kill > KILL_EVERY_SECONDS:
                    kills += _kill_one(running, random)
                    last_kill = now
                if drawn and now - last_change > STILL_SECONDS:
                    break
                time.sleep(POLL_SECONDS)
        finally:
            for process in running:
                _end(process)
    drawn = _drawn(folder)
    return PlainOutcome(
        setup="acks_late + reject_on_worker_lost" if redelivers else "acks_late",
        jobs=jobs,
        drawn=len(drawn),
        missing=jobs - len(drawn),
        twice=sum(count > 1 for count in drawn.values()),
        kills=kills,
        seconds=last_change - begin,
    )


def _start(index: int, environment: dict[str, str], folder: Path, log: Any) -> Any:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "-A", "chaos.plain_celery", "worker"),
            *("--pool=prefork", "--concurrency=1", "--loglevel=WARNING"),
            *("--without-gossip", "--without-mingle", f"--hostname={index}@plain"),
        ],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _drawn(folder: Path) -> Counter[str]:
    path = folder / "drawn"
    return Counter(path.read_text().split() if path.exists() else ())


def _kill_one(running: list[subprocess.Popen[bytes] | None], random: Random) -> int:
    """SIGKILL a worker's parent or its child, as often the one as the other."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(random.choice([one.pid for one in running if one is not None]))
        victims = [parent] if random.random() < 1 / 2 else parent.children()
        for victim in victims[:1]:
            victim.kill()
            return 1
    return 0


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_SECONDS)
