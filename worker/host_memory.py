"""What a worker does with memory of the host that it has no use for just now: it keeps it.

Each pass takes and frees the same tensors and files. Handed back to the system in between, they
would be faulted in again page by page: hundreds of faults an image.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's ``malloc.h``."""
KEPT_BYTES = 256 * 2**20
"""At most, at the end of each of its heaps."""
LARGEST_KEPT_BYTES = 32 * 2**20
"""What is larger goes back at once; glibc allows no more."""
KIBIBYTE = 1024
GROUP = Path("/sys/fs/cgroup")
"""What a process in a container sees of its own group."""


def keep_freed_memory() -> None:
    """Have the C library keep what is freed; does nothing where it is not glibc."""
    if mallopt := _of_glibc("mallopt"):
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)


def return_freed_memory() -> None:
    """Hand back what is free at this moment."""
    if malloc_trim := _of_glibc("malloc_trim"):
        malloc_trim(0)


def available_bytes() -> int:
    """Return the memory that this process may still take without the host or its group swapping.

    A group's limit is that of control groups, version 2, such as a container's.
    """
    limits = [_available_on_host(), *_available_in_group()]
    return max(0, min(limits))


def _available_on_host() -> int:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    told = dict(line.split(":", 1) for line in lines)
    return int(told["MemAvailable"].split()[0]) * KIBIBYTE


def _available_in_group() -> Iterator[int]:
    for name in ("memory.max", "memory.current"):
        if not (GROUP / name).is_file():
            return
    limit = (GROUP / "memory.max").read_text("ascii").strip()
    if limit != "max":
        used = int((GROUP / "memory.current").read_text("ascii"))
        yield int(limit) - used + _kept_files_of_group()


def _kept_files_of_group() -> int:
    """Return how much of a group's use is files that were read: they make way for anything else."""
    try:
        lines = (GROUP / "memory.stat").read_text("ascii").splitlines()
    except OSError:
        return 0
    told = dict(line.split() for line in lines)
    return sum(int(told.get(name, 0)) for name in ("active_file", "inactive_file"))


def _of_glibc(name: str) -> Callable[..., Any] | None:
    return getattr(ctypes.CDLL(None), name, None)
