"""Why a worker's process ended, as far as its log and its exit code tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from shared.errors import ConfigurationError, DeviceFaultError
from shared.process import DEVICE_FAULT, ERROR, HINT

MOST_BYTES = 64 * 1024
"""At the end of a log: a worker says why as the last thing that it does."""


class WorkerEnd(NamedTuple):
    """What is known of it."""

    reason: str
    is_of_device: bool
    """Whether the worker itself says that its device is to blame."""
    is_certain: bool
    """Whether it says that to try again at once is of no use."""


def read_end(log_path: Path, status: int, *, was_ready: bool) -> WorkerEnd:
    """Tell why a process ended that nobody asked to.

    Args:
        log_path: what it wrote.
        status: its exit code, or the negative number of a signal.
        was_ready: whether it had loaded its model.

    Raises:
        ConfigurationError: the worker itself calls it an error, which is the same on every device.
    """
    lines = _last_lines(log_path)
    faults = [line.removeprefix(DEVICE_FAULT) for line in lines if line.startswith(DEVICE_FAULT)]
    if faults:
        return WorkerEnd(faults[-1], True, status == DeviceFaultError.exit_code)
    errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
    if errors and not was_ready:
        hints = [line.removeprefix(HINT) for line in lines if line.startswith(HINT)]
        hint = hints[-1] if hints else None
        raise ConfigurationError(f"the worker does not start: {errors[-1]}", hint=hint)
    when = "at work" if was_ready else "before it was ready"
    return WorkerEnd(f"its process ended with status {status} {when}", False, False)


def _last_lines(log_path: Path) -> Sequence[str]:
    with log_path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - MOST_BYTES))
        return file.read().decode("utf-8", errors="replace").splitlines()
