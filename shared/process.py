"""What processes do when their parent dies, how they are ended, and how they tell why."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from shared.errors import TenstepError

PR_SET_PDEATHSIG = 1
PARENT_POLL_SECONDS = 0.5
RECYCLED = 75
"""Exit code of a worker that ended in order so that a fresh one takes its place."""
ERROR = "error: "
"""Begins the line in which a worker that does not start says why."""
DEVICE_FAULT = "device fault: "
"""Begins the line of one whose device is the reason, at its start or later."""
HINT = "hint: "
"""Begins the line after either that says what to do about it."""


def tell_error(error: TenstepError) -> int:
    """Write why a process ends, and what to do about it; return its exit status."""
    sys.stderr.write(f"{ERROR}{error.message}\n")
    if error.hint:
        sys.stderr.write(f"{HINT}{error.hint}\n")
    return error.exit_code


def end_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """Return a ``preexec_fn`` that has Linux signal the child when its parent dies."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def ask_kernel() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)

    return ask_kernel


def watch_parent(parent_pid: int, on_orphaned: Callable[[], None]) -> None:
    """Call ``on_orphaned`` from a thread when this process's parent is gone.

    Works where the kernel has no signal for it, and in processes that somebody else starts.
    """

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(PARENT_POLL_SECONDS)
        on_orphaned()

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()
