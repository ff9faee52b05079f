"""Fused parts draw what diffusers' parts draw, to float32's last digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn import functional

from shared.domain.prompts import ImageSettings
from shared.models.catalog import load_card
from support.closeness import ALIKE, difference
from worker import host_memory
from worker.backends.torch_backend import TorchBackend
from worker.devices import Device
from worker.kernels import direct, strips
from worker.kernels.activation import silu
from worker.kernels.compiling import part
from worker.kernels.convolution import channels_last, convolve, filters_of, whole_vectors
from worker.kernels.normalization import Array, factors_of, group_norm_of
from worker.loading import load_pipeline
from worker.models.fused import FusedResnet, FusedUpsample, RememberedProjection, RememberedTimes
from worker.models.fused_parts import fused_parts
from worker.models.fusion import fuse, fuse_networks
from worker.models.networks import Networks, load_networks

MODEL = "emoji-64"
MUCH = 2**40


def images(*shape: int, seed: int = 0) -> Tensor:
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2 + 1
    return made.to(memory_format=torch.channels_last)


def norm(channels: int, groups: int) -> nn.GroupNorm:
    made = nn.GroupNorm(groups, channels, eps=1e-5).requires_grad_(requires_grad=False)
    nn.init.normal_(made.weight)
    nn.init.normal_(made.bias)
    return made


@part
def silu_of(values: Array) -> None:
    for index in range(len(values)):
        values[index] = silu(values[index])


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(7)


EITHER_WAY = pytest.mark.parametrize("by_tiles", [True, False], ids=["Winograd", "direct"])


@EITHER_WAY
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 3), (9, 11), (16, 8)])
@pytest.mark.parametrize("count", [1, 3])
def test_a_convolution_is_torchs(size: tuple[int, int], count: int, *, by_tiles: bool) -> None:
    source, weight, bias = images(count, 32, *size), torch.randn(48, 32, 3, 3), torch.randn(48)
    filters = filters_of(weight, by_tiles=by_tiles)

    found = convolve(source, filters, bias.expand(count, -1).contiguous())

    assert difference(found, functional.conv2d(source, weight, bias, padding=1)) < ALIKE


@pytest.mark.parametrize("channels", [(3, 5), (12, 128), (40, 4), (16, 48)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (8, 8)])
def test_any_channels_and_every_second_position_are_filtered(
    channels: tuple[int, int], stride: int, size: tuple[int, int]
) -> None:
    inputs, outputs = channels
    source, weight = images(3, inputs, *size), torch.randn(outputs, inputs, 3, 3)
    bias = torch.randn(outputs)

    filters = filters_of(weight, by_tiles=False)
    padded = functional.pad(bias, (0, whole_vectors(outputs) - outputs))
    found = convolve(source, filters, padded.expand(3, -1).contiguous(), stride=stride)

    expected = functional.conv2d(source, weight, bias, padding=1, stride=stride)
    assert difference(found, expected) < ALIKE


@EITHER_WAY
def test_normalization_activation_shift_and_residual_are_taken_along(*, by_tiles: bool) -> None:
    source, weight = images(2, 32, 10, 13), torch.randn(48, 32, 3, 3)
    shift, residual, group_norm = torch.randn(2, 48), images(2, 48, 10, 13, seed=1), norm(32, 8)

    found = convolve(
        source,
        filters_of(weight, by_tiles=by_tiles),
        shift,
        norm=group_norm_of(group_norm),
        residual=residual,
    )

    activated = functional.silu(group_norm(source))
    expected = functional.conv2d(activated, weight, padding=1) + shift[:, :, None, None] + residual
    assert difference(found, expected) < ALIKE


@EITHER_WAY
def test_each_position_may_count_twice(*, by_tiles: bool) -> None:
    source, weight = images(2, 16, 5, 7), torch.randn(16, 16, 3, 3)

    filters = filters_of(weight, by_tiles=by_tiles)
    found = convolve(source, filters, torch.zeros(2, 16), doubles=True)

    enlarged = functional.interpolate(source, scale_factor=2.0, mode="nearest")
    assert difference(found, functional.conv2d(enlarged, weight, padding=1)) < ALIKE


@EITHER_WAY
def test_what_does_not_lie_channels_last_is_read_right(*, by_tiles: bool) -> None:
    source, weight = images(2, 16, 9, 6).contiguous(), torch.randn(16, 16, 3, 3)

    found = convolve(source, filters_of(weight, by_tiles=by_tiles), torch.zeros(2, 16))

    assert difference(found, functional.conv2d(source, weight, padding=1)) < ALIKE


def test_a_slab_after_the_other_makes_what_all_at_once_make(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, filters = images(3, 16, 21, 10), filters_of(torch.randn(16, 16, 3, 3), by_tiles=False)
    whole = convolve(source, filters, torch.zeros(3, 16), residual=source)

    monkeypatch.setattr(direct, "BLOCK_BYTES", 1)
    in_slabs = convolve(source, filters, torch.zeros(3, 16), residual=source)

    assert torch.equal(in_slabs, whole)


def test_blocks_of_tiles_make_what_all_at_once_make(monkeypatch: pytest.MonkeyPatch) -> None:
    source, filters = images(3, 16, 21, 10), filters_of(torch.randn(16, 16, 3, 3), by_tiles=True)
    whole = convolve(source, filters, torch.zeros(3, 16), residual=source)

    monkeypatch.setattr(strips, "LEAST_BLOCK_BYTES", 1)
    in_blocks = convolve(source, filters, torch.zeros(3, 16), residual=source)

    assert difference(in_blocks, whole) < 1e-6


@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_a_normalization_is_torchs_however_far_from_zero(mean: float) -> None:
    source, group_norm = images(2, 24, 17, 9) + mean, norm(24, 6)

    positions = channels_last(source).reshape(2, -1, 24)
    factors = factors_of(positions, group_norm_of(group_norm))

    scale, offset = (torch.from_numpy(part)[:, :, None, None] for part in factors)
    expected = group_norm.double()(source.double())
    assert difference(source * scale + offset, expected) < ALIKE


def test_silu_is_right_to_the_last_digits_at_every_size() -> None:
    values = np.concatenate(
        [np.linspace(-100, 100, 20_001), np.array([0.0, -0.0, 1e-30, -1e-30, 1e30, -200.0])]
    ).astype(np.float32)
    expected = functional.silu(torch.from_numpy(values).double()).numpy()

    silu_of(values)

    np.testing.assert_allclose(values, expected, rtol=4e-7, atol=1e-34)


def test_silu_hides_no_number_that_is_none() -> None:
    values = np.array([np.nan, np.inf, 1.0], np.float32)

    silu_of(values)

    assert np.isnan(values[0])
    assert values[1] == np.inf


@EITHER_WAY
def test_a_residual_block_is_diffusers(*, by_tiles: bool) -> None:
    block = ResnetBlock2D(in_channels=64, out_channels=96, temb_channels=32, groups=32)
    block = block.requires_grad_(requires_grad=False).eval()
    source, temb = images(2, 64, 28, 20), torch.randn(2, 32)

    with torch.inference_mode():
        fused = FusedResnet(block, by_tiles=by_tiles, keeps_plain=True)
        assert difference(fused(source, temb), block(source, temb)) < ALIKE
        other = torch.randn(2, 32)
        assert difference(fused(source, other), block(source, other)) < ALIKE


@pytest.mark.parametrize("size", [None, (56, 40), (55, 39)])
def test_an_upsampler_is_diffusers(size: tuple[int, int] | None) -> None:
    plain = Upsample2D(64, use_conv=True, out_channels=64).requires_grad_(requires_grad=False)
    source = images(2, 64, 28, 20)

    with torch.inference_mode():
        assert (
            difference(
                FusedUpsample(plain, by_tiles=True, keeps_plain=True)(source, size),
                plain(source, size),
            )
            < ALIKE
        )


def test_text_is_projected_once_and_other_text_anew() -> None:
    layer, tokens = nn.Linear(8, 8).requires_grad_(requires_grad=False), torch.randn(2, 5, 8)
    remembered = RememberedProjection(layer)

    first = remembered(tokens)

    assert remembered(tokens) is first
    assert torch.equal(remembered(tokens.clone() + 1), layer(tokens + 1))
    assert torch.equal(remembered(tokens), layer(tokens))


def test_a_timestep_is_embedded_once_and_others_for_themselves() -> None:
    layer = nn.Linear(4, 6).requires_grad_(requires_grad=False)
    remembered = RememberedTimes(layer)
    steps = [torch.full((2, 4), float(step)) for step in range(300)]

    found = [remembered(step) for step in steps]

    assert all(torch.equal(one, layer(step)) for one, step in zip(found, steps, strict=True))
    assert remembered(steps[-1].clone()) is found[-1]


def networks() -> Networks:
    return load_networks(load_card(MODEL))


def test_a_model_whose_parts_are_fused_computes_the_same() -> None:
    plain, fused = networks(), networks()
    fuse_networks(fused, MUCH)
    inputs = images(16, 12, 8, 8), torch.full((16,), 500), torch.randn(16, 24, 192)

    with torch.inference_mode():
        assert any(isinstance(part, FusedResnet) for part in fused.denoiser.modules())
        assert difference(fused.denoiser(*inputs), plain.denoiser(*inputs)) < ALIKE
        assert difference(fused.decoder(inputs[0]), plain.decoder(inputs[0])) < 3 * ALIKE


def test_filters_take_no_more_memory_than_they_may() -> None:
    all_bytes = fuse([networks().denoiser], MUCH)
    network = networks().denoiser

    taken = fuse([network], all_bytes // 2)

    fused = [part for part in network.modules() if isinstance(part, FusedResnet | FusedUpsample)]
    held = sum(part.filter_bytes for part in fused)
    assert 0 < held == taken <= all_bytes // 2
    assert fuse([networks().denoiser], 0) == 0


def test_the_decoder_is_not_left_what_the_denoiser_does_not_want() -> None:
    whole, some = networks(), networks()
    fuse_networks(whole, MUCH)

    fuse_networks(some, fused_parts(whole).filter_bytes // 2)

    for network in (some.decoder, some.denoiser):
        parts = [part for part in network.modules() if isinstance(part, FusedResnet)]
        assert any(part.filter_bytes for part in parts)


def test_it_is_told_how_much_of_a_model_is_fused() -> None:
    whole, half = networks(), networks()
    fuse_networks(whole, MUCH)
    everything = fused_parts(whole)

    fuse_networks(half, everything.filter_bytes // 2)

    some = fused_parts(half)
    assert everything.fused == everything.could_be == some.could_be > some.fused > 0
    assert 0 < some.filter_bytes <= everything.filter_bytes // 2
    nothing = fused_parts(networks())
    assert (nothing.fused, nothing.filter_bytes) == (0, 0)
    assert nothing.could_be == everything.could_be


def test_a_backend_fuses_within_the_bytes_it_is_given() -> None:
    cpu = Device.parse("cpu")

    unfused = TorchBackend(load_card(MODEL), cpu, fusion_bytes=0)
    fused = TorchBackend(load_card(MODEL), cpu)

    assert fused_parts(unfused.networks).fused == 0
    assert fused_parts(fused.networks).fused > 0


def test_a_fused_pipeline_draws_the_plain_ones_images_and_says_so() -> None:
    job = ImageSettings(
        prompt="a red apple",
        seed=5,
        width=64,
        height=64,
        steps=16,
        squeeze="10,6",
        guidance_scale=5,
        guidance_rescale=0.7,
    )
    jobs = [job.model_copy(update={"seed": seed}) for seed in range(4)]
    card, device = load_card(MODEL), Device.parse("cpu")
    fused = load_pipeline(card, device, threads=2)
    plain = load_pipeline(card, device, threads=2, manner="plain")

    pairs = zip(fused.draw(jobs), plain.draw(jobs), strict=True)

    apart = [np.abs(one.pixels.astype(int) - other.pixels).max() for one, other in pairs]
    assert max(apart) <= 2
    assert fused.describe().backend_version == plain.describe().backend_version + ", Winograd"


def test_a_container_has_what_its_limit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = host_memory.available_bytes()
    monkeypatch.setattr(host_memory, "GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("2000000\n")

    assert host_memory.available_bytes() == 3_000_000
    files = "anon 900000\ninactive_file 700000\nactive_file 400000\nfile 1100000\n"
    (tmp_path / "memory.stat").write_text(files)
    assert host_memory.available_bytes() == 4_100_000, "what was read makes way"
    (tmp_path / "memory.max").write_text("max\n")
    assert host_memory.available_bytes() > host // 2


def test_what_was_drawn_in_inference_mode_hinders_nobody_outside_of_it() -> None:
    filters, zeros = filters_of(torch.randn(64, 64, 3, 3), by_tiles=True), torch.zeros(1, 64)
    large, small = images(1, 64, 40, 40), images(1, 64, 8, 8)
    with torch.inference_mode():
        convolve(large, filters, zeros)

    assert convolve(small, filters, zeros).shape == small.shape
