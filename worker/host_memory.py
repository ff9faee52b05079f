"""What a worker does with memory of the host that it has no use for just now: it keeps it.

Each pass takes and frees the same tensors and files. Handed back to the system in between, they
would be faulted in again page by page: hundreds of faults an image.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's ``malloc.h``."""
KEPT_BYTES = 256 * 2**20
"""At most, at the end of each of its heaps."""
LARGEST_KEPT_BYTES = 32 * 2**20
"""What is larger goes back at once; glibc allows no more."""


def keep_freed_memory() -> None:
    """Have the C library keep what is freed; does nothing where it is not glibc."""
    if mallopt := _of_glibc("mallopt"):
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)


def return_freed_memory() -> None:
    """Hand back what is free at this moment."""
    if malloc_trim := _of_glibc("malloc_trim"):
        malloc_trim(0)


def _of_glibc(name: str) -> Callable[..., Any] | None:
    return getattr(ctypes.CDLL(None), name, None)
