"""Processes of tenstep's, kept running as a service manager would, and broken on purpose."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import psutil

from chaos.stacks import LOCAL, Stack
from support.commands import TENSTEP, processes_of

STOP_SECONDS = 40
GONE_SECONDS = 10


@dataclass
class Unit:
    """One command that is started again whenever it ends."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside the stack's."""
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0


class Fleet:
    """Workers' supervisors and dispatchers."""

    def __init__(self, stack: Stack, units: Sequence[Unit]) -> None:
        self._stack = stack
        self.units = units

    def tend(self) -> None:
        """Start what is not running; from the thread that lives as long as the fleet."""
        for unit in self.units:
            if unit.process is None or unit.process.poll() is not None:
                self._start(unit)

    def _start(self, unit: Unit) -> None:
        unit.starts += 1
        name = "-".join([unit.arguments[0], str(self.units.index(unit))])
        with (self._stack.folder / f"{name}.log").open("ab") as output:
            unit.process = subprocess.Popen(
                [*self._stack.command_prefix, TENSTEP, *unit.arguments],
                env={**self._stack.environment, **unit.environment},
                cwd=self._stack.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill_unit(self, verb: str, random: Random) -> None:
        """SIGKILL one of the commands by its name."""
        running = [unit for unit in self.units if unit.arguments[0] == verb and unit.process]
        unit = random.choice(running)
        assert unit.process is not None
        unit.process.kill()
        unit.process.wait()

    def kill_one(self, random: Random) -> str:
        """SIGKILL a worker's child, its parent or its supervisor; returns which."""
        kind = random.choice(["child", "child", "parent", "parent", "supervisor"])
        found = [process for process in self.processes() if _kind(process) == kind]
        if not found:
            return "nobody"
        with contextlib.suppress(psutil.NoSuchProcess):
            random.choice(found).kill()
        return kind

    def worker_groups(self) -> list[int]:
        """Return the process groups of the workers: Celery's parent and its child."""
        return [process.pid for process in self.processes() if _kind(process) == "parent"]

    def processes(self) -> Sequence[psutil.Process]:
        """Every process that belongs to the fleet."""
        return processes_of(self._stack.data_dir)

    def stop(self) -> list[str]:
        """Stop all as Ctrl-C would; returns what was left behind, after killing it."""
        running = [unit.process for unit in self.units if unit.process is not None]
        # The dispatchers last: what they run (a local Redis) the workers need to end well.
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        left = []
        for process in running:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                left.append(f"{process.args!r} did not stop")
        deadline = time.monotonic() + GONE_SECONDS
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        return left + [_bury(process) for process in self.processes()]


def _bury(process: psutil.Process) -> str:
    try:
        line = " ".join(process.cmdline())[:120]
        process.kill()
    except psutil.NoSuchProcess:
        line = "a process that has just ended"
    return f"left behind: {line}"


def _kind(process: psutil.Process) -> str:
    try:
        words = process.cmdline()
    except psutil.NoSuchProcess:
        return "gone"
    if "-m" in words and "worker" in words:
        return "parent"
    if any("spawn_main" in word for word in words):
        return "child"
    if any(word.endswith("tenstep") for word in words) and {"worker", "up"} & set(words):
        return "supervisor"
    return "other"


def usual_units(kind: str, workers: int, *, dispatchers: int = 1) -> list[Unit]:
    """Two supervisors that share the workers, and on services dispatchers beside them."""
    halves = [str(workers - workers // 2), str(workers // 2)]
    if kind == LOCAL:
        return [Unit(["up", "--no-serve", "--workers", half]) for half in halves]
    return [
        *(Unit(["dispatch"]) for _ in range(dispatchers)),
        *(Unit(["worker", "--workers", half]) for half in halves),
    ]


def signal_groups(groups: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to process groups; those that are gone are none."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
