"""Commands that run beside a benchmark, and end with it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from shared.errors import TenstepError
from shared.process import end_with_parent

STOP_SECONDS = 60
POLL_SECONDS = 0.1
TAIL_CHARACTERS = 2_000


class Background:
    """One command in a session of its own, whose output is in a file."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it.

        Args:
            command: the program and its arguments.
            log: where its output goes.
            environment: all of it; None is this process's own.
        """
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the benchmark, which then stops what it started, in order.
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGTERM),
            )

    def check(self) -> None:
        """See whether it still runs.

        Raises:
            TenstepError: it has ended; shows the end of its output.
        """
        status = self._process.poll()
        if status is not None:
            tail = self._log.read_text("utf-8", errors="replace")[-TAIL_CHARACTERS:]
            raise TenstepError(f"a process of the benchmark ended with status {status}:\n{tail}")

    def stop(self) -> None:
        """Ask it to end, and insist after a minute."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def running(commands: Sequence[Background]) -> Iterator[Sequence[Background]]:
    """Stop some commands at the end of the block."""
    try:
        yield commands
    finally:
        for command in commands:
            command.stop()


def wait_for(
    commands: Sequence[Background],
    count: Callable[[], int],
    wanted: int,
    *,
    patience_seconds: float,
    tell: Callable[[int], None] | None = None,
) -> None:
    """Wait until something has come so many times, and tell of each look.

    Raises:
        TenstepError: one of the commands ended, or nothing more came for a while.
    """
    last, news = -1, time.monotonic()
    while (found := count()) < wanted:
        if found != last:
            last, news = found, time.monotonic()
        if time.monotonic() - news > patience_seconds:
            raise TenstepError(
                f"nothing more came for {patience_seconds:.0f} s: {found} of {wanted}"
            )
        for command in commands:
            command.check()
        if tell is not None:
            tell(found)
        time.sleep(POLL_SECONDS)
