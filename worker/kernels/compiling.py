"""How kernels are compiled, and how many threads run them."""

from __future__ import annotations

import ctypes
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
import torch

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS: dict[str, Any] = {
    # Sums may be taken in any order and multiplications fused with them; infinities and NaN stay.
    "fastmath": {"reassoc", "contract", "arcp", "nsz"},
    # Python's check of each divisor would keep loops from being vectorized.
    "error_model": "numpy",
}

SEQUENCES: list[Any] = []
"""Whoever profiles kernels runs the ``py_func`` of each in its place."""

MOST_THREADS: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # made at import


def _share_threads() -> None:
    """Have numba run on torch's threads, where both have GNU OpenMP's.

    Torch brings the library along. Numba takes the system's, unless another one's functions can
    be found before: then one's threads would spin, or have to be woken, while the other's work.
    """
    for library in (Path(torch.__file__).parent / "lib").glob("libgomp*.so*"):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _cache_by_sources() -> None:
    """Keep machine code by what it was made of.

    Numba looks at the file of a kernel alone; kernels are made of parts and sizes of others.
    """
    folder = Path(__file__).parent
    sources = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    known: str = numba.config.CACHE_DIR  # type: ignore[attr-defined]  # made at import
    base = Path(known) if known else folder / "__pycache__"
    digest = hashlib.sha256(sources).hexdigest()[:16]
    numba.config.CACHE_DIR = str(base / digest)  # type: ignore[attr-defined]


_cache_by_sources()
_share_threads()
_one_at_a_time = threading.Lock()
"""Numba's own threads end the process if two of Python's ask for them at once."""


def part(function: F) -> F:
    """Compile what one thread does of a kernel."""
    compiled: F = numba.njit(function, **OPTIONS)
    return compiled


@numba.njit(inline="always")
def signed(index: int) -> int:
    """Return the index of a parallel loop, as its kernel counts.

    In the loop numba has it without a sign, and would compile all parts once more for such.
    """
    count: int = np.int64(index)  # type: ignore[assignment]  # int() would leave it as it is
    return count


def part_for_both(function: F) -> F:
    """Compile what kernels or sequences ask, and Python too: its machine code is kept."""
    return _kept(function)


def kernel(function: F) -> F:
    """Compile a function whose ``numba.prange`` loops run on several threads.

    It should hold no more than those loops: what numba makes parallel takes it ten times as
    long to compile. The machine code is kept for later processes, where there is a folder to
    keep it in.
    """
    return _kept(function, parallel=True)


def sequence(function: F) -> F:
    """Compile what runs kernels one after the other, without Python between them.

    Other sequences may call it.
    """
    compiled = _kept(function)
    SEQUENCES.append(compiled)
    return compiled


def _kept(function: F, *, parallel: bool = False) -> F:
    def compile_it(*, is_kept: bool) -> F:
        compiled: F = numba.njit(function, parallel=parallel, nogil=True, cache=is_kept, **OPTIONS)
        return compiled

    try:
        return compile_it(is_kept=True)
    except RuntimeError:  # neither the code's folder nor the user's cache can be written
        return compile_it(is_kept=False)


@contextmanager
def as_many_threads_as_torch() -> Iterator[int]:
    """Run the block's kernels on as many threads as torch has, one caller at a time."""
    threads = min(torch.get_num_threads(), MOST_THREADS)
    with _one_at_a_time:
        numba.set_num_threads(threads)
        yield threads
