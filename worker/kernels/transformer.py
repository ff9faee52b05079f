"""A transformer block's linear layers, each with what stands before and behind it, in few calls.

Attention lies between them: `worker.models.fused_transformer` has all of a block.
"""

from __future__ import annotations

from typing import NamedTuple

from worker.kernels.compiling import sequence
from worker.kernels.layer_norm import NO_NORM, LayerNorm
from worker.kernels.normalization import NONE, Array, GroupNorm, factors_of
from worker.kernels.projection import Layer, project_into


class Block(NamedTuple):
    """The weights of diffusers' BasicTransformerBlock but those of the text's keys and values."""

    norm1: LayerNorm
    joined: Layer
    """From C to 3 C: its own queries, keys and values."""
    own_out: Layer
    norm2: LayerNorm
    queries: Layer
    """To the text."""
    cross_out: Layer
    norm3: LayerNorm
    gated: Layer
    fed: Layer


@sequence
def enter(  # noqa: PLR0917 - what a layer is of
    kept: Array,
    images: int,
    norm: GroupNorm,
    layer: Layer,
    threads: int,
    workspace: Array,
    result: Array,
) -> None:
    """Project the positions of images, normalized, to tokens.

    Args:
        kept: (images * N, C).
        images: how many.
        norm: of each image.
        layer: from C to C.
        threads: how many there are.
        workspace: of `space_of_projection`, here as below of the most inputs.
        result: (images * N, C), is filled.
    """
    factors = factors_of(kept.reshape((images, len(kept) // images, kept.shape[1])), norm)
    project_into(kept, NO_NORM, factors, layer, result[:0], threads, workspace, result)


@sequence
def before_own(rows: Array, block: Block, threads: int, workspace: Array, joined: Array) -> None:
    """Make queries, keys and values, (M, 3 C), of tokens (M, C)."""
    project_into(rows, block.norm1, NONE, block.joined, joined[:0], threads, workspace, joined)


@sequence
def between(  # noqa: PLR0917 - two layers of
    found: Array,
    rows: Array,
    block: Block,
    threads: int,
    workspace: Array,
    spread: Array,
    queries: Array,
) -> None:
    """Take in what tokens found in themselves, and ask the text.

    Args:
        found: (M, C).
        rows: tokens before, (M, C).
        block: its weights.
        threads: how many there are.
        workspace: see `enter`.
        spread: (copies * M, C), is filled with the tokens that come of it, again and again.
        queries: (copies * M, C), is filled.
    """
    count = len(rows)
    project_into(found, NO_NORM, NONE, block.own_out, rows, threads, workspace, spread[:count])
    for begin in range(count, len(spread), count):
        spread[begin : begin + count] = spread[:count]
    project_into(spread, block.norm2, NONE, block.queries, spread[:0], threads, workspace, queries)


@sequence
def behind_cross(  # noqa: PLR0917 - three layers of
    found: Array,
    rows: Array,
    block: Block,
    threads: int,
    workspace: Array,
    gated: Array,
    result: Array,
) -> None:
    """Take in what tokens found in the text, and feed forward.

    Args:
        found: (M, C).
        rows: tokens before, (M, C); are overwritten.
        block: its weights.
        threads: how many there are.
        workspace: see `enter`.
        gated: (M, width between the two layers of the feed-forward), is overwritten.
        result: (M, C), is filled.
    """
    project_into(found, NO_NORM, NONE, block.cross_out, rows, threads, workspace, result)
    project_into(result, block.norm3, NONE, block.gated, gated[:0], threads, workspace, gated)
    rows[:] = result
    project_into(gated, NO_NORM, NONE, block.fed, rows, threads, workspace, result)
