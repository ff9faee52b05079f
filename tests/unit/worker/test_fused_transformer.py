"""Fused transformers compute what diffusers' compute, to float32's last digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn
from torch.nn import functional

from support.closeness import ALIKE, difference
from worker.kernels.activation import gelu
from worker.kernels.compiling import part
from worker.kernels.layer_norm import layer_norm_of
from worker.kernels.normalization import Array
from worker.kernels.projection import GATED, layer_of, project
from worker.models import fused_transformer as models
from worker.models.blocks import SpatialTransformer
from worker.models.fused_transformer import fits_transformer, fused_transformer


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=bias).requires_grad_(requires_grad=False)


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(7)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 300])
@pytest.mark.parametrize("outputs", [5, 32, 50])
def test_a_projection_is_torchs_however_many_rows_and_outputs(rows: int, outputs: int) -> None:
    source, layer = torch.randn(rows, 20), linear(20, outputs)

    found = project(source, layer_of(layer.weight, layer.bias))

    assert difference(found, layer(source)) < ALIKE


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_share_out_rows_and_outputs(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    source, layer = torch.randn(20, 16), linear(16, 70)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)

    found = project(source, layer_of(layer.weight, layer.bias))

    assert difference(found, layer(source)) < ALIKE


def test_normalization_and_residual_are_taken_along() -> None:
    source, residual = torch.randn(33, 24) * 3 + 5, torch.randn(33, 40)
    layer, norm = linear(24, 40, bias=False), nn.LayerNorm(24).requires_grad_(requires_grad=False)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)

    found = project(
        source, layer_of(layer.weight, None), norm=layer_norm_of(norm), residual=residual
    )

    assert difference(found, layer(norm(source)) + residual) < ALIKE


def test_values_are_gated() -> None:
    source, layer = torch.randn(33, 24), linear(24, 2 * 40)

    found = project(source, layer_of(layer.weight, layer.bias, activation=GATED))

    values, gates = layer(source).chunk(2, dim=1)
    assert difference(found, values * functional.gelu(gates)) < ALIKE


def test_gelu_is_right_to_six_digits_at_every_size() -> None:
    @part
    def all_of(numbers: Array, results: Array) -> None:
        for index in range(len(numbers)):
            results[index] = gelu(numbers[index])

    numbers = np.linspace(-12, 12, 20001, dtype=np.float32)
    results = np.empty_like(numbers)

    all_of(numbers, results)

    expected = functional.gelu(torch.from_numpy(numbers).double()).numpy()
    assert np.abs(results - expected).max() < 1e-6


@pytest.mark.parametrize("most_tokens", [256, 0], ids=["ours", "torch"])
@pytest.mark.parametrize("texts", [3, 6])
def test_a_spatial_transformer_is_as_it_was(
    texts: int, most_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "MOST_TOKENS", most_tokens)
    plain = SpatialTransformer(48, heads=4, context_width=20, norm_groups=8)
    plain.requires_grad_(requires_grad=False).eval()
    hidden = torch.randn(3, 48, 5, 7).to(memory_format=torch.channels_last)
    context = torch.randn(texts, 9, 20)
    assert fits_transformer(plain)

    found = fused_transformer(plain)(hidden, context)

    assert difference(found, plain(hidden, context)) < ALIKE


@pytest.mark.parametrize("most_tokens", [256, 0], ids=["ours", "torch"])
@pytest.mark.parametrize("projects_by", ["convolution", "layer"])
def test_stable_diffusions_own_is_as_it_was(
    projects_by: str, most_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "MOST_TOKENS", most_tokens)
    plain = Transformer2DModel(
        num_attention_heads=4,
        attention_head_dim=12,
        in_channels=48,
        num_layers=2,
        norm_num_groups=8,
        cross_attention_dim=20,
        use_linear_projection=projects_by == "layer",
    )
    plain.requires_grad_(requires_grad=False).eval()
    hidden, context = torch.randn(2, 48, 6, 4), torch.randn(2, 9, 20)
    assert fits_transformer(plain)

    (found,) = fused_transformer(plain)(
        hidden, encoder_hidden_states=context, cross_attention_kwargs=None, return_dict=False
    )

    (expected,) = plain(hidden, encoder_hidden_states=context, return_dict=False)
    assert difference(found, expected) < ALIKE


def test_what_normalizes_otherwise_is_left_alone() -> None:
    plain = Transformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=16,
        norm_num_groups=8,
        cross_attention_dim=20,
        activation_fn="gelu",
    )

    assert not fits_transformer(plain)
