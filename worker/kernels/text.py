"""A layer of CLIP's text encoder as one call."""

from __future__ import annotations

from typing import NamedTuple

from worker.kernels.attention import Manner, Tokens, attend_into
from worker.kernels.compiling import sequence
from worker.kernels.layer_norm import NO_NORM, LayerNorm
from worker.kernels.normalization import NONE, Array
from worker.kernels.projection import Layer, project_into


class TextLayer(NamedTuple):
    """Radford et al. 2021 (arXiv 2103.00020), section 2.4."""

    norm1: LayerNorm
    joined: Layer
    """From C to 3 C: queries, keys and values."""
    out: Layer
    norm2: LayerNorm
    widen: Layer
    """With its activation."""
    narrow: Layer


class Between(NamedTuple):
    """What lies between a layer's steps; is overwritten."""

    joined: Array
    """(M, 3 C)."""
    found: Array
    """(M, C)."""
    mixed: Array
    """(M, C)."""
    wide: Array
    """(M, width between the layers of the feed-forward)."""


@sequence
def encode_layer(  # noqa: PLR0917 - what a layer is of
    rows: Array,
    layer: TextLayer,
    texts: int,
    heads: int,
    between: Between,
    threads: int,
    workspace: Array,
) -> None:
    """Have each token take in those before it, and feed forward.

    Args:
        rows: tokens of one text after the other, (M, C); become the layer's output.
        layer: its weights.
        texts: how many.
        heads: of its attention.
        between: of as many rows.
        threads: how many there are.
        workspace: of what its projections and its attention need, whichever is more.
    """
    width = rows.shape[1]
    joined, found, mixed, wide = between
    project_into(rows, layer.norm1, NONE, layer.joined, joined[:0], threads, workspace, joined)
    queries, keys, values = Tokens(joined, 0), Tokens(joined, width), Tokens(joined, 2 * width)
    attend_into(queries, keys, values, texts, Manner(heads, True), threads, workspace, found)
    project_into(found, NO_NORM, NONE, layer.out, rows, threads, workspace, mixed)
    project_into(mixed, layer.norm2, NONE, layer.widen, wide[:0], threads, workspace, wide)
    project_into(wide, NO_NORM, NONE, layer.narrow, mixed, threads, workspace, rows)
