"""One worker a device: whose process holds a file's lock has the device.

The lock belongs to an open file, so it is free the moment that its process has died, however it
died. A child that was forked from it has the file open too, and the lock with it: rightly so,
since it has the device's memory as well, and a device is not free while that lives. Programs
that either starts do not inherit the file.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import UUID

from shared.errors import ConfigurationError, DeviceFaultError
from worker.devices import VISIBLE, Device, driver_name

EXCLUSIVE_KINDS = frozenset({"cuda", "qaic"})
"""A processor is shared by design, and of simulated devices there is nothing to share."""
PATIENCE_SECONDS = 7.0
"""For a process that is about to die: one that has lost its supervisor takes five seconds."""
POLL_SECONDS = 0.1
MOST_BYTES = 1024
OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a device."""

    pid: int
    """0 in the moment before it is written."""
    worker_id: UUID | None


def hold_device(
    device: Device,
    worker_id: UUID,
    environ: Mapping[str, str],
    *,
    patience_seconds: float = PATIENCE_SECONDS,
) -> IO[str] | None:
    """Take a device for as long as this process, or a child of it, has the file open.

    Args:
        device: what the process is about to be pinned to.
        worker_id: whoever looks is told.
        environ: of before that; says among which devices CUDA's are counted.
        patience_seconds: how long to wait for who has it.

    Returns:
        The file, which the caller keeps open; None of devices that many may use.

    Raises:
        DeviceFaultError: another worker on this host has it; names its process.
        ConfigurationError: the environment shows no such device, or the folder of the locks is
            not this user's own.
    """
    if device.kind not in EXCLUSIVE_KINDS:
        return None
    file = os.fdopen(os.open(_path(device, environ), OPEN, 0o600), "r+", encoding="utf-8")
    deadline = time.monotonic() + patience_seconds
    while not _take(file, fcntl.LOCK_EX):
        if time.monotonic() >= deadline:
            holder = _read(file)
            file.close()
            raise DeviceFaultError(
                f"{device} is in use by process {holder.pid}: one worker has a device at a time",
                hint="tenstep devices shows which are free.",
            )
        time.sleep(POLL_SECONDS)
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), "worker_id": str(worker_id)}))
    file.flush()
    return file


def holder_of(device: Device, environ: Mapping[str, str]) -> Holder | None:
    """Return who has a device, or None; the arguments are those of `hold_device`."""
    if device.kind not in EXCLUSIVE_KINDS:
        return None
    try:
        file = _path(device, environ).open(encoding="utf-8")
    except FileNotFoundError:
        return None
    with file:
        # Shared: two that look at the same time do not take each other for a worker.
        return None if _take(file, fcntl.LOCK_SH) else _read(file)


def lock_folder() -> Path:
    """Return the folder of the locks of this user's workers, which is made if it is not there.

    Raises:
        ConfigurationError: somebody else has made something of that name.
    """
    folder = Path(tempfile.gettempdir()) / f"tenstep-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigurationError(f"{folder} is not a folder that this user alone can write to")
    return folder


def _path(device: Device, environ: Mapping[str, str]) -> Path:
    """Return the file of a device, by what its driver calls it."""
    if device.kind == "cuda":
        number = driver_name(device, environ.get(VISIBLE, ""))
    else:
        number = str(device.index)
    return lock_folder() / f"{device.kind}-{re.sub(r'[^A-Za-z0-9.-]', '_', number)}.lock"


def _take(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: IO[str]) -> Holder:
    """Read who has the lock; its process may not have written yet, or be of another version."""
    file.seek(0)
    try:
        told = json.loads(file.read(MOST_BYTES))
        return Holder(int(told["pid"]), UUID(told["worker_id"]))
    except (ValueError, KeyError, TypeError):
        return Holder(0, None)
