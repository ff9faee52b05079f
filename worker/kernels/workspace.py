"""Memory that kernels read and write, as vectors like it: none crosses two lines of a cache."""

from __future__ import annotations

from math import prod

import numpy as np

from worker.kernels.normalization import Array

LINE_BYTES = 64
"""Of a cache."""
_SPARE = LINE_BYTES // 4


def aligned(*shape: int) -> Array:
    """Return fresh memory that begins where a line of a processor's cache does."""
    numbers = prod(shape)
    whole = np.empty(numbers + _SPARE, np.float32)
    begin = -whole.ctypes.data % LINE_BYTES // whole.itemsize
    return whole[begin : begin + numbers].reshape(shape)


_workspace = aligned(0)
"""Of whoever runs kernels, one at a time. Fresh memory would cost as much as a transform."""


def workspace_of(numbers: int) -> Array:
    """Return so many numbers; what the last call returned must be of use no more."""
    # No tensor of torch's: one made in inference mode could not be written to outside of it.
    global _workspace  # noqa: PLW0603 - one a process, as large as its largest use
    if len(_workspace) < numbers:
        _workspace = aligned(numbers)
    return _workspace[:numbers]
