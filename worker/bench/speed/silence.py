"""Keeps what libraries print, from C, out of a command's own output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

OUT, ERR = 1, 2
"""Descriptors of a process's output and of its complaints."""


@contextmanager
def muted(descriptor: int) -> Iterator[None]:
    """Have the block's output to a descriptor go nowhere."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = os.dup(descriptor)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    try:
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
        os.close(nowhere)
