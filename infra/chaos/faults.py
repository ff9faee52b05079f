"""What is done to a running fleet. Each returns when it has stopped doing it."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from chaos.fleet import signal_groups
from chaos.play import Run

MOST_KILLS = 60
REFUSED = 503


def kill_workers(every_seconds: float, *, most: int = MOST_KILLS) -> Callable[[Run], None]:
    """SIGKILL a worker's child, its parent or its supervisor at random, until all is done."""

    def fault(run: Run) -> None:
        killed: Counter[str] = Counter()
        while not run.is_finished and killed.total() < most:
            with run.fault():
                killed[run.fleet.kill_one(run.random)] += 1
            run.wait_for(lambda: run.is_finished, every_seconds)
        run.notes.append(f"killed: {', '.join(f'{n} x {kind}' for kind, n in killed.items())}")

    return fault


def kill_dispatcher(verb: str, times: int, every_seconds: float) -> Callable[[Run], None]:
    """SIGKILL a dispatcher at random; it is started again at once."""

    def fault(run: Run) -> None:
        for _ in range(times):
            with run.fault():
                run.fleet.kill_unit(verb, run.random)
            run.wait_for(lambda: run.is_finished, every_seconds)

    return fault


def flush_redis(run: Run) -> None:
    """SIGKILL Redis and start it with nothing in it."""
    with run.fault():
        run.stack.empty_redis()


def freeze_redis(seconds: float) -> Callable[[Run], None]:
    """SIGSTOP Redis: connections stay open, nobody answers."""

    def fault(run: Run) -> None:
        assert run.stack.redis is not None
        with run.fault():
            run.stack.redis.server.freeze()
            run.pause(seconds)
            run.stack.redis.server.thaw()

    return fault


def restart_postgres(times: int, away_seconds: float) -> Callable[[Run], None]:
    """Stop Postgres as an operator would, in the middle of everything, and start it again."""

    def fault(run: Run) -> None:
        assert run.stack.postgres is not None
        for _ in range(times):
            with run.fault():
                run.stack.postgres.restart(away_seconds)
            run.pause(3)

    return fault


def refuse_then_dawdle(
    refusing_seconds: float, slow_seconds: float, *, status: int = REFUSED, delay_seconds: float = 1
) -> Callable[[Run], None]:
    """Have the store refuse everything for a while, then take a second for every answer."""

    def fault(run: Run) -> None:
        proxy = run.stack.proxy
        assert proxy is not None
        with run.fault():
            proxy.refuses_with = status
            run.pause(refusing_seconds)
            proxy.refuses_with = None
        proxy.delay_seconds = delay_seconds
        run.pause(slow_seconds)
        proxy.delay_seconds = 0.0
        run.notes.append(f"refused {proxy.refused:,} requests with {status}")

    return fault


def freeze_workers(times: int, seconds: float) -> Callable[[Run], None]:
    """SIGSTOP a worker's parent and child for longer than their lease, then let them go on."""

    def fault(run: Run) -> None:
        for _ in range(times):
            frozen = [run.random.choice(run.fleet.worker_groups())]
            with run.fault():
                signal_groups(frozen, signal.SIGSTOP)
                run.pause(seconds)
                signal_groups(frozen, signal.SIGCONT)
            run.pause(1)

    return fault


def fill_disk(folder_of: Callable[[Run], Path], seconds: float) -> Callable[[Run], None]:
    """Write a file until the store's disk is full; remove it after a while."""

    def fault(run: Run) -> None:
        ballast = folder_of(run) / "ballast"
        with run.fault():
            written = _fill(ballast)
            run.pause(seconds / 2)
            written += _fill(ballast)  # what writes that failed have given back meanwhile
            run.pause(seconds / 2)
            ballast.unlink()
        run.notes.append(f"disk full after {written:,} bytes")

    return fault


def _fill(ballast: Path) -> int:
    written = 0
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    written += file.write(bytes(size)) or 0
            except OSError:
                continue
    return written


def nothing(run: Run) -> None:
    """Leave it to the jobs or to the clocks."""
