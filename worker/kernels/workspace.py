"""Memory that kernels write to between their steps, kept from call to call."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np

from worker.kernels.normalization import Array

_workspace = np.zeros(0, np.float32)
"""Of whoever runs kernels, one at a time. Fresh memory would cost as much as a transform."""


def taken(*shapes: tuple[int, ...]) -> list[Array]:
    """Return arrays of these shapes; what the last call returned must be of use no more."""
    # No tensors of torch's: one made in inference mode could not be written to outside of it.
    global _workspace  # noqa: PLW0603 - one a process, as large as its largest use
    ends = [0]
    for shape in shapes:
        ends.append(ends[-1] + prod(shape))
    if len(_workspace) < ends[-1]:
        _workspace = np.zeros(ends[-1], np.float32)
    pieces = pairwise(ends)
    return [
        _workspace[begin:end].reshape(shape)
        for (begin, end), shape in zip(pieces, shapes, strict=True)
    ]
