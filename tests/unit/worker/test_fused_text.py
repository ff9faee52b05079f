"""A text encoder whose layers are fused encodes as a plain one, whatever stands beside a text."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shared.models.catalog import load_card
from support.closeness import ALIKE, difference
from worker.kernels.attention import Manner, Tokens, attend, attend_into, space_of_attention
from worker.kernels.compiling import as_many_threads_as_torch
from worker.kernels.workspace import workspace_of
from worker.models.fused_text import FusedTextLayers, fits_text_encoder
from worker.models.networks import load_networks
from worker.models.text_encoder import TextEncoder, TextEncoderConfig

LENGTH = 77


def encoder_of(activation: str) -> TextEncoder:
    config = TextEncoderConfig(
        vocab_size=100,
        hidden_size=48,
        intermediate_size=112,
        num_hidden_layers=2,
        num_attention_heads=3,
        max_position_embeddings=LENGTH,
        hidden_act=activation,
    )
    return TextEncoder(config).requires_grad_(requires_grad=False).eval()


def some_ids(texts: int) -> Tensor:
    return torch.randint(100, (texts, LENGTH), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_texts_become_what_they_are_to_the_plain_layers(activation: str) -> None:
    torch.manual_seed(0)
    encoder = encoder_of(activation)
    with torch.inference_mode():
        expected = encoder(some_ids(5))

        assert fits_text_encoder(encoder)
        encoder.encoder = FusedTextLayers(encoder)  # type: ignore[assignment]  # as it is called

        assert difference(encoder(some_ids(5)), expected) < ALIKE


def test_the_model_that_ships_encodes_the_same() -> None:
    encoder = load_networks(load_card("emoji-64")).text_encoder
    ids = torch.randint(2000, (3, 32), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = encoder(ids)

        encoder.encoder = FusedTextLayers(encoder)  # type: ignore[assignment]  # as it is called

        assert difference(encoder(ids), expected) < ALIKE


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (7, 7), (40, 40), (5, 33), (64, 20)])
def test_attention_is_torchs(queries: int, keys: int, *, causal: bool) -> None:
    images, heads, width = 3, 2, 20
    made = torch.Generator().manual_seed(1)
    tensors = [
        torch.randn(images * count, 5 + heads * width, generator=made)
        for count in (queries, keys, keys)
    ]
    tokens = [Tokens(one.numpy(), 5) for one in tensors]
    ours, torchs = torch.empty(2, images * queries, heads * width)

    with as_many_threads_as_torch() as threads:
        space = workspace_of(space_of_attention(queries, keys, width, threads))
        attend_into(*tokens, images, Manner(heads, causal), threads, space, ours.numpy())
    attend(*tokens, images, heads, torchs.numpy())

    by_head = [one[:, 5:].view(images, -1, heads, width).transpose(1, 2) for one in tensors]
    expected = functional.scaled_dot_product_attention(*by_head, is_causal=causal)
    assert difference(ours, expected.transpose(1, 2).reshape(ours.shape)) < ALIKE
    assert causal or difference(torchs, ours) < ALIKE
