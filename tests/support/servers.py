"""Server processes of the tests: started on loopback, never left behind."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from shared.process import end_with_parent

START_SECONDS = 60.0
FIRST_PORT = 20_000
FIRST_OUTGOING_PORT = 32_768
"""Linux gives ports from here on to outgoing connections; macOS begins later."""


def free_port() -> int:
    """Find a port that nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int, *offsets: int) -> Sequence[int]:
    """Find different ports that nobody listens on, nor on the ports ``offsets`` above them."""
    end = FIRST_OUTGOING_PORT - max(offsets, default=0)
    found: list[int] = []
    for port in random.sample(range(FIRST_PORT, end), k=200):
        if all(_is_free(port + offset) for offset in (0, *offsets)):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"no {count} free ports between {FIRST_PORT} and {end}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Server:
    """One process of the session; the kernel kills it if the test run dies first."""

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        log: Path,
        *,
        user: int | None = None,
        env: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        dies_by: signal.Signals = signal.SIGKILL,
    ) -> None:
        self._command = command
        self._log = log
        self._user = user
        self._env = env
        self._stop_signal = stop_signal
        self._dies_by = dies_by
        self.start()

    def start(self) -> None:
        """Start the process, again if it has ended; it dies with the thread that calls this."""
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._log.parent,
                env={**os.environ, **(self._env or {})},
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
                # Ctrl-C is for pytest, whose fixtures then stop the servers in order.
                start_new_session=True,
                preexec_fn=end_with_parent(self._dies_by),
            )

    def wait_until(self, answers: Callable[[], bool]) -> None:
        """Wait until ``answers`` is true.

        Raises:
            RuntimeError: the process ended, or START_SECONDS passed; shows its log.
        """
        deadline = time.monotonic() + START_SECONDS
        while not answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                tail = self._log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{self.process.args} did not start:\n{tail}")
            time.sleep(0.05)

    def stop(self, grace_seconds: float = 3) -> None:
        """Ask it to end, then make it."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(self._stop_signal)
        try:
            self.process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stop it where it is: its connections stay open and nobody answers."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self.process.send_signal(signal.SIGCONT)
