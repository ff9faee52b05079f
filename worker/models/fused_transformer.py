"""Transformers as the processor runs them quickest: the same sums, in another order.

Each part stands in the place of one of diffusers', whose weights it packs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from worker.kernels.attention import MOST_TOKENS, Tokens, attend
from worker.kernels.compiling import as_many_threads_as_torch
from worker.kernels.layer_norm import layer_norm_of
from worker.kernels.normalization import Array, group_norm_of
from worker.kernels.projection import GATED, Layer, layer_of, space_of_projection
from worker.kernels.transformer import (
    Around,
    Block,
    before_own,
    behind_cross,
    between,
    enter,
    leave,
    run_transformer,
    space_of_transformer,
)
from worker.kernels.workspace import workspace_of
from worker.models.blocks import SpatialTransformer, TextReader
from worker.models.fused import RememberedProjection
from worker.models.rows import spread

if TYPE_CHECKING:  # it imports much, which only a model that has it should
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

EXTRAS = ("group_norm", "spatial_norm", "norm_q", "norm_k", "norm_cross", "added_kv_proj_dim")
"""Of an attention, which a fused one lacks."""


class FusedBlock:
    """A transformer block: its products take normalizations, gates and residuals along."""

    def __init__(self, block: BasicTransformerBlock) -> None:
        """Take over a block that `fits_block`."""
        own, cross, feed = _untyped(block.attn1), _untyped(block.attn2), _untyped(block.ff)
        weights = [own.to_q.weight, own.to_k.weight, own.to_v.weight]
        biases = [own.to_q.bias, own.to_k.bias, own.to_v.bias]
        gates = feed.net[0].proj
        norm1, norm2, norm3 = (
            layer_norm_of(_untyped(norm)) for norm in (block.norm1, block.norm2, block.norm3)
        )
        self.heads = own.heads
        self.weights = Block(
            norm1=norm1,
            joined=layer_of(torch.cat(weights), None if biases[0] is None else torch.cat(biases)),
            own_out=_layer(own.to_out[0]),
            norm2=norm2,
            queries=_layer(cross.to_q),
            cross_out=_layer(cross.to_out[0]),
            norm3=norm3,
            gated=layer_of(gates.weight, gates.bias, GATED),
            fed=_layer(feed.net[2]),
        )
        self._keys = RememberedProjection(cross.to_k)
        self._values = RememberedProjection(cross.to_v)

    def read(self, text: Tensor) -> tuple[Array, Array]:
        """Return keys and values of texts (R, T, D), (R * T, C) each."""
        keys, values = (
            remembered(text).flatten(0, 1).numpy() for remembered in (self._keys, self._values)
        )
        return keys, values

    def run(self, rows: Array, images: int, text: Tensor, space: Array, threads: int) -> Array:
        """Attend by torch, which is quicker where tokens are many, and feed forward.

        Args:
            rows: tokens of one image after the other, (images * N, C).
            images: of them.
            text: (R, T, D), R a multiple of images.
            space: of `space_of_projection` for what lies between the feed-forward's layers.
            threads: how many there are.

        Returns:
            (R * N, C).
        """
        weights, count, width = self.weights, len(rows), rows.shape[1]
        texts, most, inner = len(text), count // images * len(text), weights.gated.outputs
        joined, queries, gated = _fresh(count, 3 * width), _fresh(most, width), _fresh(most, inner)
        found, spread, result = _fresh(most, width), _fresh(most, width), _fresh(most, width)
        keys, values = self.read(text)
        before_own(rows, weights, threads, space, joined)
        own, own_keys, own_values = (Tokens(joined, part * width) for part in range(3))
        attend(own, own_keys, own_values, images, self.heads, found[:count])
        between(found[:count], rows, weights, threads, space, spread, queries)
        asked = Tokens(queries, 0)
        attend(asked, Tokens(keys, 0), Tokens(values, 0), texts, self.heads, found)
        behind_cross(found, spread, weights, threads, space, gated, result)
        return result


class FusedTransformer(TextReader):
    """Transformer blocks over the positions of a feature map, with the projections around them."""

    def __init__(self, transformer: SpatialTransformer | Transformer2DModel) -> None:
        """Take over a transformer that `fits_transformer`."""
        super().__init__()
        part = _untyped(transformer)
        self._around = Around(group_norm_of(part.norm), _layer(part.proj_in), _layer(part.proj_out))
        self._blocks = [FusedBlock(block) for block in part.transformer_blocks]

    def forward(self, hidden: Tensor, context: Tensor) -> Tensor:
        """Attend (B, C, H, W) to text (R, T, D), R a multiple of B: (R, C, H, W)."""
        _, channels, height, width = hidden.shape
        kept = hidden.permute(0, 2, 3, 1).reshape(-1, channels)
        result = torch.empty(height * width * len(context), channels)
        if max(height * width, context.shape[1]) > MOST_TOKENS:
            self._run_with_torch(kept, len(hidden), context, result)
        else:
            self._run(kept.numpy(), len(hidden), context, result.numpy())
        return result.view(-1, height, width, channels).permute(0, 3, 1, 2)

    def _run(self, kept: Array, images: int, text: Tensor, result: Array) -> None:
        blocks = tuple(block.weights for block in self._blocks)
        keys, values = zip(*(block.read(text) for block in self._blocks), strict=True)
        heads, texts = self._blocks[0].heads, len(text)
        sizes = len(kept) // images, images, text.shape[1], texts, heads
        with as_many_threads_as_torch() as threads:
            run_transformer(
                kept,
                images,
                self._around,
                blocks,
                keys,
                values,
                texts,
                heads,
                threads,
                workspace_of(space_of_transformer(blocks[0], *sizes, threads)),
                result,
            )

    def _run_with_torch(self, kept: Tensor, images: int, text: Tensor, result: Tensor) -> None:
        rows = _fresh(*kept.shape)
        inner = self._blocks[0].weights.gated.outputs
        with as_many_threads_as_torch() as threads:
            space = workspace_of(space_of_projection(inner, threads))
            enter(kept.numpy(), images, self._around.norm, self._around.into, threads, space, rows)
            for block in self._blocks:
                rows, images = block.run(rows, images, text, space, threads), len(text)
            residual = spread(kept, len(rows)).numpy()
            leave(rows, residual, self._around.out, threads, space, result.numpy())


class FusedTransformer2D(FusedTransformer):
    """As diffusers' U-Net calls its own."""

    def forward(  # type: ignore[override]  # diffusers' names
        self, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: object
    ) -> tuple[Tensor]:
        """Attend (B, C, H, W) to text (B, T, D): (B, C, H, W), alone in a tuple."""
        return (super().forward(hidden_states, encoder_hidden_states),)


def fused_transformer(part: SpatialTransformer | Transformer2DModel) -> FusedTransformer:
    """Take over a transformer that `fits_transformer`, called as it was."""
    is_ours = isinstance(part, SpatialTransformer)
    return FusedTransformer(part) if is_ours else FusedTransformer2D(part)


def fits_transformer(transformer: SpatialTransformer | Transformer2DModel) -> bool:
    """Tell whether `FusedTransformer` does what a transformer does."""
    part = _untyped(transformer)
    is_of_maps = isinstance(part, SpatialTransformer) or part.is_input_continuous
    return is_of_maps and all(_fits_block(block) for block in part.transformer_blocks)


def _fits_block(block: Any) -> bool:
    return bool(
        block.norm_type == "layer_norm"
        and block.norm_elementwise_affine
        and block.pos_embed is None
        and not block.only_cross_attention
        and _fits_attention(block.attn1)
        and _fits_attention(block.attn2)
        and isinstance(block.ff.net[0], GEGLU)
    )


def _fits_attention(part: Any) -> bool:
    return isinstance(part, Attention) and not (
        part.residual_connection
        or part.rescale_output_factor != 1
        or any(getattr(part, name) is not None for name in EXTRAS)
    )


def _fresh(*shape: int) -> Array:
    """Return memory that torch keeps at hand."""
    array: Array = torch.empty(shape).numpy()
    return array


def _layer(layer: nn.Linear | nn.Conv2d) -> Layer:
    return layer_of(layer.weight.flatten(1), layer.bias)


def _untyped(part: Any) -> Any:
    """Return it: diffusers' types do not say what its parts are made of."""
    return part
