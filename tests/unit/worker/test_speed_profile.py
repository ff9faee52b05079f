from __future__ import annotations

import pytest
import torch

from shared.models.catalog import load_card
from worker.backends.torch_backend import TorchBackend
from worker.bench.speed.profile import ATTENTION_PART, Kind, kind_of, profile
from worker.devices import Device
from worker.kernels import strips


@pytest.mark.parametrize(
    ("operator", "part", "kind"),
    [
        ("aten::bmm", ATTENTION_PART, Kind.ATTENTION),
        ("aten::addmm", None, Kind.PROJECTIONS),
        ("aten::linear", ATTENTION_PART, Kind.PROJECTIONS),
        ("aten::conv2d", None, Kind.CONVOLUTIONS),
        ("aten::scaled_dot_product_attention", ATTENTION_PART, Kind.ATTENTION),
        ("aten::softmax", ATTENTION_PART, Kind.ATTENTION),
        ("aten::layer_norm", None, Kind.NORMALIZATION),
        ("kernel group_norm_factors 0", None, Kind.NORMALIZATION),
        ("kernel convolve_strips 9", None, Kind.WINOGRAD),
        ("kernel project_rows 9", None, Kind.PROJECTIONS),
        ("aten::contiguous", None, Kind.ELEMENTWISE),
        ("aten::resolve_conj", None, Kind.ELEMENTWISE),
        ("aten::gelu", None, Kind.ELEMENTWISE),
    ],
)
def test_an_operator_counts_as_what_it_is_for(operator: str, part: str | None, kind: Kind) -> None:
    assert kind_of(operator, part) is kind


def test_what_is_multiplied_is_counted_and_all_is_left_as_it_was() -> None:
    backend = TorchBackend(load_card("emoji-64"), Device("cpu", None), threads=1)
    denoiser, kernel = backend.networks.denoiser, strips.convolve_strips
    text = backend.encode_text(torch.zeros(16, 24, dtype=torch.int64))
    inputs = torch.randn(16, 12, 8, 8), torch.full((16,), 500), text
    backend.denoise(*inputs)

    found = profile(denoiser, lambda: backend.denoise(*inputs))

    parts = {part.kind: part for part in found.parts}
    assert sum(part.ns for part in found.parts) == found.wall_ns
    assert parts[Kind.WINOGRAD].flops > 0 < parts[Kind.PROJECTIONS].flops
    assert found.multiplying.flops == sum(part.flops for part in found.parts)
    assert strips.convolve_strips is kernel
    assert not any(module._forward_hooks for module in denoiser.modules())
