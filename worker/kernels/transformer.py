"""A transformer block in one call, or, where torch attends, in the calls around attention."""

from __future__ import annotations

from typing import NamedTuple

from worker.kernels.attention import Manner, Tokens, attend_into, space_of_attention
from worker.kernels.compiling import part, sequence
from worker.kernels.layer_norm import NO_NORM, LayerNorm
from worker.kernels.normalization import NONE, Array, GroupNorm, factors_of
from worker.kernels.projection import Layer, project_into, space_of_projection


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


class Around(NamedTuple):
    """What stands around a transformer's blocks."""

    norm: GroupNorm
    """Of each image."""
    into: Layer
    """From C to C."""
    out: Layer
    """From C to C; what went in is added."""


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


def space_of_transformer(  # noqa: PLR0917 - all that sizes depend on
    block: Block, tokens: int, images: int, text: int, texts: int, heads: int, threads: int
) -> int:
    """Return how many numbers `run_transformer` needs: of tokens an image has, and a text."""
    inner, width = block.gated.outputs, block.fed.outputs
    of_tokens = tokens * (3 * width * images + (5 * width + inner) * texts)
    most = max(tokens, text)
    attention = space_of_attention(tokens, most, width // heads, threads)
    return of_tokens + max(space_of_projection(inner, threads), attention)


@sequence
def run_transformer(  # noqa: PLR0913, PLR0917 - what a transformer is of
    kept: Array,
    images: int,
    around: Around,
    blocks: tuple[Block, ...],
    keys: tuple[Array, ...],
    values: tuple[Array, ...],
    texts: int,
    heads: int,
    threads: int,
    workspace: Array,
    result: Array,
) -> None:
    """Run blocks over the positions of images, of which there are few.

    Args:
        kept: the positions, one image after the other, (images * N, C).
        images: how many.
        around: what stands before and behind the blocks.
        blocks: at least one.
        keys: of each block: of the texts, one after the other, (texts * T, C).
        values: the same.
        texts: how many, a multiple of the images.
        heads: of attention.
        threads: how many there are.
        workspace: of `space_of_transformer`, is overwritten.
        result: (texts * N, C), is filled.
    """
    count, width = kept.shape
    most = len(result)
    rows = workspace[: most * width].reshape((most, width))
    made = workspace[most * width : 2 * most * width].reshape((most, width))
    space = workspace[2 * most * width :]
    enter(kept, images, around.norm, around.into, threads, space, rows[:count])
    run_block(
        rows[:count], blocks[0], keys[0], values[0], images, texts, heads, threads, space, made
    )
    for index in range(1, len(blocks)):
        rows, made = made, rows
        run_block(
            rows,
            blocks[index],
            keys[index],
            values[index],
            texts,
            texts,
            heads,
            threads,
            space,
            made,
        )
    for row in range(most):
        _copy_row(kept, row % count, rows, row)
    leave(made, rows, around.out, threads, space, result)


@sequence
def run_block(  # noqa: PLR0913, PLR0917 - what a block is of
    rows: Array,
    block: Block,
    keys: Array,
    values: Array,
    images: int,
    texts: int,
    heads: int,
    threads: int,
    workspace: Array,
    result: Array,
) -> None:
    """Have few tokens attend to themselves, to the text, and feed forward.

    Args:
        rows: tokens of one image after the other, (images * N, C).
        block: its weights.
        keys: of the texts, one after the other, (texts * T, C).
        values: the same.
        images: how many.
        texts: how many, a multiple of the images.
        heads: of attention.
        threads: how many there are.
        workspace: of what `space_of_transformer` has for a block, is overwritten.
        result: (texts * N, C), is filled.
    """
    count, width = rows.shape
    most, inner = len(result), block.gated.outputs
    a = 3 * count * width
    b, c, d = a + most * width, a + 2 * most * width, a + 3 * most * width
    e = d + most * inner
    manner = Manner(heads, False)
    joined = workspace[:a].reshape((count, 3 * width))
    found = workspace[a:b].reshape((most, width))
    spread = workspace[b:c].reshape((most, width))
    queries = workspace[c:d].reshape((most, width))
    gated = workspace[d:e].reshape((most, inner))
    space = workspace[e:]
    before_own(rows, block, threads, space, joined)
    own, own_keys = Tokens(joined, 0), Tokens(joined, width)
    own_values = Tokens(joined, 2 * width)
    attend_into(own, own_keys, own_values, images, manner, threads, space, found[:count])
    between(found[:count], rows, block, threads, space, spread, queries)
    asked, known = Tokens(queries, 0), Tokens(keys, 0)
    attend_into(asked, known, Tokens(values, 0), texts, manner, threads, space, found)
    behind_cross(found, spread, block, threads, space, gated, result)


@sequence
def leave(
    rows: Array, kept: Array, layer: Layer, threads: int, workspace: Array, result: Array
) -> None:
    """Project tokens (M, C) back to positions, and add what went in: (M, C)."""
    project_into(rows, NO_NORM, NONE, layer, kept, threads, workspace, result)


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
    for row in range(count, len(spread)):
        _copy_row(spread, row - count, spread, row)
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
    for row in range(len(rows)):
        _copy_row(result, row, rows, row)
    project_into(gated, NO_NORM, NONE, block.fed, rows, threads, workspace, result)


@part
def _copy_row(source: Array, index: int, target: Array, place: int) -> None:
    for k in range(source.shape[1]):
        target[place, k] = source[index, k]
