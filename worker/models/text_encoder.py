"""CLIP's text encoder, in plain torch.

transformers' own class imports torch's compiler and distributed training with it, which was
half of the time that a worker takes to start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, PositiveInt, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

POSITION_IDS = ("text_model.embeddings.position_ids", "embeddings.position_ids")
"""The numbers of the positions, which old files hold as if they were weights."""
EMBEDDING_STD = 0.02


def modern_text_name(name: str) -> str:
    """Return what transformers calls a text encoder's tensor today."""
    return name.removeprefix("text_model.")


def quick_gelu(hidden: Tensor) -> Tensor:
    """Return OpenAI's approximation of GELU."""
    return hidden * (1.702 * hidden).sigmoid()


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu, "gelu": F.gelu}


class TextEncoderConfig(BaseModel):
    """What of ``text_encoder/config.json`` the text tokens need; defaults are CLIP's."""

    model_config = ConfigDict(frozen=True)

    vocab_size: PositiveInt = 49408
    hidden_size: PositiveInt = 512
    intermediate_size: PositiveInt = 2048
    num_hidden_layers: PositiveInt = 12
    num_attention_heads: PositiveInt = 8
    max_position_embeddings: PositiveInt = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read a config.json; what only training or pooling needs is left aside."""
        return cls(**document)

    @field_validator("hidden_act")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in ACTIVATIONS:
            raise ValueError(f"{name!r} is none of {', '.join(ACTIVATIONS)}")
        return name

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) is no multiple of num_attention_heads "
                f"({self.num_attention_heads})"
            )
        return self


class TextEncoder(nn.Module):
    """Maps token ids to text tokens; parameters are named as in transformers' ``CLIPTextModel``."""

    def __init__(self, config: TextEncoderConfig) -> None:
        """Make it with CLIP's own distribution of fresh weights."""
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = _Layers(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Encode token ids (B, T), int64, to text tokens (B, T, D)."""
        tokens: Tensor = self.final_layer_norm(self.encoder(self.embeddings(token_ids)))
        return tokens


class _Embeddings(nn.Module):
    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.token_embedding = _embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = _embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, token_ids: Tensor) -> Tensor:
        tokens: Tensor = self.token_embedding(token_ids)
        return tokens + self.position_embedding.weight[: token_ids.shape[1]]


class _Layers(nn.Module):
    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, hidden: Tensor) -> Tensor:
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden


class _Layer(nn.Module):
    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = _CausalAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = _Mlp(config)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.self_attn(self.layer_norm1(hidden))
        mixed: Tensor = hidden + self.mlp(self.layer_norm2(hidden))
        return mixed


class _CausalAttention(nn.Module):
    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self._heads = config.num_attention_heads
        self.q_proj = _linear(width, width, _residual_std(config))
        self.k_proj = _linear(width, width, _residual_std(config))
        self.v_proj = _linear(width, width, _residual_std(config))
        self.out_proj = _linear(width, width, width**-0.5)

    def forward(self, hidden: Tensor) -> Tensor:
        query, key, value = (
            project(hidden).unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return mixed


class _Mlp(nn.Module):
    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self._activate = ACTIVATIONS[config.hidden_act]
        self.fc1 = _linear(width, inner, (2 * width) ** -0.5)
        self.fc2 = _linear(inner, width, _residual_std(config))

    def forward(self, hidden: Tensor) -> Tensor:
        mixed: Tensor = self.fc2(self._activate(self.fc1(hidden)))
        return mixed


def _embedding(entries: int, width: int) -> nn.Embedding:
    make: Any = nn.Embedding.from_pretrained  # which fills nothing
    embedding: nn.Embedding = make(torch.empty(entries, width), freeze=False)
    _fill(embedding.weight, EMBEDDING_STD)
    return embedding


def _linear(width_in: int, width_out: int, std: float) -> nn.Linear:
    layer = nn.Linear(width_in, width_out)
    _fill(layer.weight, std)
    nn.init.zeros_(layer.bias)
    return layer


def _fill(weight: Tensor, std: float) -> None:
    # On the meta device there is nothing to fill, and trying imports torch's compiler.
    if not weight.is_meta:
        nn.init.normal_(weight, std=std)


def _residual_std(config: TextEncoderConfig) -> float:
    """Return CLIP's deviation of what feeds a residual branch, which falls with the depth."""
    return float((config.hidden_size * 2 * config.num_hidden_layers) ** -0.5)
