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
from torch.nn import functional

from worker.kernels.convolution import normalization_of
from worker.kernels.projection import Layer, layer_norm_of, layer_of, project
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
        bias = None if biases[0] is None else torch.cat(biases)
        gates = feed.net[0].proj
        self._heads = own.heads
        self._norm1, self._norm2, self._norm3 = (
            layer_norm_of(_untyped(norm)) for norm in (block.norm1, block.norm2, block.norm3)
        )
        self._joined = layer_of(torch.cat(weights), bias)
        self._own_out = _layer(own.to_out[0])
        self._queries = _layer(cross.to_q)
        self._keys = RememberedProjection(cross.to_k)
        self._values = RememberedProjection(cross.to_v)
        self._cross_out = _layer(cross.to_out[0])
        self._gated = layer_of(gates.weight, gates.bias, gated=True)
        self._fed = _layer(feed.net[2])

    def __call__(self, rows: Tensor, images: int, text: Tensor) -> Tensor:
        """Attend to itself, to the text, and feed forward.

        Args:
            rows: tokens of one image after the other, (images * N, C).
            images: of them.
            text: (R, T, D), R a multiple of images.

        Returns:
            (R * N, C).
        """
        joined = project(rows, self._joined, norm=self._norm1)
        joined = joined.view(images, -1, 3, self._heads, rows.shape[1] // self._heads)
        found = _attend(*joined.transpose(1, 3).unbind(2))
        rows = spread(project(found, self._own_out, residual=rows), len(rows) // images * len(text))
        queries = self._by_head(project(rows, self._queries, norm=self._norm2), len(text))
        keys, values = (
            self._by_head(remembered(text).flatten(0, 1), len(text))
            for remembered in (self._keys, self._values)
        )
        rows = project(_attend(queries, keys, values), self._cross_out, residual=rows)
        return project(project(rows, self._gated, norm=self._norm3), self._fed, residual=rows)

    def _by_head(self, rows: Tensor, images: int) -> Tensor:
        return rows.view(images, -1, self._heads, rows.shape[1] // self._heads).transpose(1, 2)


class FusedTransformer(TextReader):
    """Transformer blocks over the positions of a feature map, with the projections around them."""

    def __init__(self, transformer: SpatialTransformer | Transformer2DModel) -> None:
        """Take over a transformer that `fits_transformer`."""
        super().__init__()
        part = _untyped(transformer)
        self._norm = part.norm
        self._in, self._out = _layer(part.proj_in), _layer(part.proj_out)
        self._blocks = [FusedBlock(block) for block in part.transformer_blocks]

    def forward(self, hidden: Tensor, context: Tensor) -> Tensor:
        """Attend (B, C, H, W) to text (R, T, D), R a multiple of B: (R, C, H, W)."""
        count, channels, height, width = hidden.shape
        kept = hidden.permute(0, 2, 3, 1).reshape(-1, channels)
        rows, images = project(kept, self._in, factors=normalization_of(hidden, self._norm)), count
        for block in self._blocks:
            rows, images = block(rows, images, context), len(context)
        residual = spread(kept, len(rows))
        made = project(rows, self._out, residual=residual)
        return made.view(images, height, width, channels).permute(0, 3, 1, 2)


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


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attend (B, heads, N, d) to (B, heads, T, d): (B * N, heads * d)."""
    found = functional.scaled_dot_product_attention(queries, keys, values)
    return found.transpose(1, 2).flatten(2).flatten(0, 1)


def _layer(layer: nn.Linear | nn.Conv2d) -> Layer:
    return layer_of(layer.weight.flatten(1), layer.bias)


def _untyped(part: Any) -> Any:
    """Return it: diffusers' types do not say what its parts are made of."""
    return part
