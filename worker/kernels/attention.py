"""Attention between few tokens: scores of a head stay in a processor's nearest cache."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import torch
from torch.nn import functional

from worker.kernels.activation import exponential
from worker.kernels.compiling import kernel, part, sequence, signed
from worker.kernels.normalization import Array
from worker.kernels.products import PANEL, ROWS, multiply_panel
from worker.kernels.vectors import BYTES_A_NUMBER

MOST_TOKENS = 256
"""Of queries, and of keys: beyond, torch's is as quick."""


class Tokens(NamedTuple):
    """Of several images, one after the other."""

    rows: Array
    """(N * tokens, ·)."""
    first: int
    """Column where the first head begins; the others follow."""


class Manner(NamedTuple):
    """How tokens attend."""

    heads: int
    causal: bool
    """Whether a token meets those alone that stand before it, and itself."""


class Space(NamedTuple):
    """What one thread needs; tokens and widths are made up to whole blocks."""

    queries: Array
    """(threads, tokens, width of a head)."""
    keys: Array
    """(threads, panels of tokens, width, PANEL)."""
    scores: Array
    """(threads, tokens, tokens of the text)."""
    values: Array
    """(threads, panels of width, tokens of the text, PANEL)."""
    found: Array
    """(threads, tokens, padded width)."""


def attend(
    queries: Tokens, keys: Tokens, values: Tokens, images: int, heads: int, result: Array
) -> None:
    """Attend as scaled dot products do (Vaswani et al. 2017, arXiv 1706.03762, section 3.2.1).

    By torch, for any number of tokens.

    Args:
        queries: (images * N, ·).
        keys: (images * T, ·).
        values: like keys.
        images: how many.
        heads: of a token, side by side.
        result: (images * N, heads * width), is filled.
    """
    count, width = len(result) // images, result.shape[1] // heads
    asked, known_keys, known_values = (
        torch.from_numpy(tokens.rows)[:, tokens.first : tokens.first + heads * width]
        .view(images, -1, heads, width)
        .transpose(1, 2)
        for tokens in (queries, keys, values)
    )
    found = functional.scaled_dot_product_attention(asked, known_keys, known_values)
    torch.from_numpy(result).view(images, count, heads, width).copy_(found.transpose(1, 2))


@sequence
def attend_into(  # noqa: PLR0917 - what attention is of
    queries: Tokens,
    keys: Tokens,
    values: Tokens,
    images: int,
    manner: Manner,
    threads: int,
    workspace: Array,
    result: Array,
) -> None:
    """Attend as `attend`, a head after the other: for no more than `MOST_TOKENS`.

    Args:
        queries: this and the next three as in `attend`.
        keys: see there.
        values: see there.
        images: see there.
        manner: heads side by side, and whom a token meets.
        threads: how many there are.
        workspace: of at least `space_of_attention`, is overwritten.
        result: (images * N, heads * width), is filled.
    """
    width = result.shape[1] // manner.heads
    count, known = len(result) // images, len(keys.rows) // images
    rows, columns = max(count, ROWS), -(-known // PANEL) * PANEL
    padded = -(-width // PANEL) * PANEL
    a = threads * rows * width
    b = a + threads * columns * width
    c = b + threads * rows * columns
    d = c + threads * known * padded
    e = d + threads * rows * padded
    space = Space(
        workspace[:a].reshape((threads, rows, width)),
        workspace[a:b].reshape((threads, columns // PANEL, width, PANEL)),
        workspace[b:c].reshape((threads, rows, columns)),
        workspace[c:d].reshape((threads, padded // PANEL, known, PANEL)),
        workspace[d:e].reshape((threads, rows, padded)),
    )
    attend_by_head(queries, keys, values, images, manner, space, result)


def space_of_attention(count: int, known: int, width: int, threads: int) -> int:
    """Return how many numbers attention of a head of some width needs between its steps."""
    rows, columns = max(count, ROWS), -(-known // PANEL) * PANEL
    padded = -(-width // PANEL) * PANEL
    return threads * (rows * (width + columns + padded) + columns * width + known * padded)


@kernel
def attend_by_head(  # noqa: PLR0917 - what attention is of
    queries: Tokens,
    keys: Tokens,
    values: Tokens,
    images: int,
    manner: Manner,
    space: Space,
    result: Array,
) -> None:
    """Attend, one head of one image after the other; arguments are those of `attend_into`."""
    threads, _, width = space.queries.shape
    heads = manner.heads
    jobs = images * heads
    for each in numba.prange(threads):
        thread = signed(each)
        for job in range(jobs * thread // threads, jobs * (thread + 1) // threads):
            image, head = job // heads, job % heads
            _read_queries(queries, image, images, head, space.queries, thread)
            _read_keys(keys, image, images, head, space.keys, thread)
            _read_values(values, image, head, width, space.values, thread)
            _score(thread, space)
            _weigh(thread, manner, space)
            _mix(image, images, head, thread, space, result)


# No views of rows below: each would be counted, by all threads at once. And what may be negative
# is looked at for each number, and keeps loops from being vectorized.


@part
def _read_queries(
    queries: Tokens, image: int, images: int, head: int, packed: Array, thread: int
) -> None:
    """Fill a thread's part of packed (threads, tokens, width of a head), times the scale."""
    width, count = np.uint64(packed.shape[2]), len(queries.rows) // images
    scale = np.float32(1) / np.sqrt(np.float32(width))
    begin = np.uint64(queries.first) + np.uint64(head) * width
    for token in range(count):
        for k in range(width):
            packed[thread, token, k] = queries.rows[image * count + token, begin + k] * scale


@part
def _read_keys(
    keys: Tokens, image: int, images: int, head: int, packed: Array, thread: int
) -> None:
    """Fill a thread's part of packed (threads, panels of tokens, width, PANEL)."""
    width, known = np.uint64(packed.shape[2]), len(keys.rows) // images
    begin = np.uint64(keys.first) + np.uint64(head) * width
    for token in range(packed.shape[1] * PANEL):
        panel, lane = token // PANEL, token % PANEL
        if token < known:
            for k in range(width):
                packed[thread, panel, k, lane] = keys.rows[image * known + token, begin + k]
        else:
            for k in range(width):
                packed[thread, panel, k, lane] = np.float32(0)


@part
def _read_values(
    values: Tokens, image: int, head: int, width: int, packed: Array, thread: int
) -> None:
    """Fill a thread's part of packed (threads, panels of width, tokens, PANEL)."""
    known, panel_width = packed.shape[2], np.uint64(PANEL)
    begin = np.uint64(values.first) + np.uint64(head * width)
    for panel in range(packed.shape[1]):
        kept = np.uint64(min(PANEL, width - panel * PANEL))
        for token in range(known):
            for k in range(kept):
                packed[thread, panel, token, k] = values.rows[image * known + token, begin + k]
            for k in range(kept, panel_width):
                packed[thread, panel, token, k] = np.float32(0)
        begin += panel_width


@part
def _score(thread: int, space: Space) -> None:
    """Multiply queries by keys."""
    _, rows, width = space.queries.shape
    _, panels, _, _ = space.keys.shape
    columns, known = panels * PANEL, space.values.shape[2]
    for panel in range(panels):
        multiply_panel(
            space.queries.ctypes.data + BYTES_A_NUMBER * thread * rows * width,
            width,
            rows,
            space.keys.ctypes.data + BYTES_A_NUMBER * (thread * panels + panel) * width * PANEL,
            width,
            space.scores.ctypes.data + BYTES_A_NUMBER * (thread * rows * columns + panel * PANEL),
            columns,
            known - panel * PANEL,
        )


@part
def _weigh(thread: int, manner: Manner, space: Space) -> None:
    """Replace scores by their softmax over the tokens that are met."""
    scores, known = space.scores, space.values.shape[2]
    for token in range(scores.shape[1]):
        met = min(token + 1, known) if manner.causal else known
        highest = scores[thread, token, 0]
        for k in range(1, met):
            highest = max(highest, scores[thread, token, k])
        total = np.float32(0)
        for k in range(met):
            weight = exponential(scores[thread, token, k] - highest)
            scores[thread, token, k] = weight
            total += weight
        share = np.float32(1) / total
        for k in range(met):
            scores[thread, token, k] *= share
        for k in range(met, known):
            scores[thread, token, k] = np.float32(0)


@part
def _mix(image: int, images: int, head: int, thread: int, space: Space, result: Array) -> None:
    """Multiply weights by values."""
    _, rows, columns = space.scores.shape
    _, panels, known, _ = space.values.shape
    padded, width = panels * PANEL, space.queries.shape[2]
    for panel in range(panels):
        multiply_panel(
            space.scores.ctypes.data + BYTES_A_NUMBER * thread * rows * columns,
            columns,
            rows,
            space.values.ctypes.data + BYTES_A_NUMBER * (thread * panels + panel) * known * PANEL,
            known,
            space.found.ctypes.data + BYTES_A_NUMBER * (thread * rows * padded + panel * PANEL),
            padded,
            width - panel * PANEL,
        )
    count, head_width = len(result) // images, np.uint64(width)
    begin = np.uint64(head) * head_width
    for token in range(count):
        for k in range(head_width):
            result[image * count + token, begin + k] = space.found[thread, token, k]
