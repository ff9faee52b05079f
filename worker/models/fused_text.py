"""A text encoder's layers as the processor runs them quickest: the same sums, in another order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from worker.kernels.attention import MOST_TOKENS, space_of_attention
from worker.kernels.compiling import as_many_threads_as_torch
from worker.kernels.layer_norm import layer_norm_of
from worker.kernels.projection import GELU, QUICK_GELU, layer_of, space_of_projection
from worker.kernels.text import Between, TextLayer, encode_layer
from worker.kernels.workspace import workspace_of
from worker.models.text_encoder import TextEncoder

ACTIVATIONS = {"gelu": GELU, "quick_gelu": QUICK_GELU}


class FusedTextLayers(nn.Module):
    """All layers of a text encoder, whose weights are packed, and take no more memory."""

    def __init__(self, encoder: TextEncoder) -> None:
        """Take over the layers of an encoder that `fits_text_encoder`."""
        super().__init__()
        config = encoder.config
        self._heads, self._inner = config.num_attention_heads, config.intermediate_size
        activation = ACTIVATIONS[config.hidden_act]
        layers: Any = encoder.encoder.layers
        self._layers = [_packed(layer, activation) for layer in layers]

    def forward(self, hidden: Tensor) -> Tensor:
        """Map embedded tokens (B, T, C) to those behind the last layer."""
        texts, tokens, width = hidden.shape
        rows = hidden.reshape(-1, width).clone()
        between = Between(
            *(
                torch.empty(len(rows), columns).numpy()
                for columns in (3 * width, width, width, self._inner)
            )
        )
        with as_many_threads_as_torch() as threads:
            space = max(
                space_of_projection(self._inner, threads),
                space_of_attention(tokens, tokens, width // self._heads, threads),
            )
            workspace = workspace_of(space)
            for layer in self._layers:
                encode_layer(rows.numpy(), layer, texts, self._heads, between, threads, workspace)
        return rows.view(texts, tokens, width)


def fits_text_encoder(encoder: TextEncoder) -> bool:
    """Tell whether `FusedTextLayers` does what an encoder's layers do."""
    config = encoder.config
    return config.hidden_act in ACTIVATIONS and config.max_position_embeddings <= MOST_TOKENS


def _packed(layer: Any, activation: int) -> TextLayer:
    attention, feed = layer.self_attn, layer.mlp
    joined = (attention.q_proj, attention.k_proj, attention.v_proj)
    return TextLayer(
        norm1=layer_norm_of(layer.layer_norm1),
        joined=layer_of(
            torch.cat([one.weight for one in joined]), torch.cat([one.bias for one in joined])
        ),
        out=layer_of(attention.out_proj.weight, attention.out_proj.bias),
        norm2=layer_norm_of(layer.layer_norm2),
        widen=layer_of(feed.fc1.weight, feed.fc1.bias, activation),
        narrow=layer_of(feed.fc2.weight, feed.fc2.bias),
    )
