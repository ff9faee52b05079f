"""Decoding in strips and in parts against decoding all at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from worker.models.tiles import (
    ROWS,
    SHARE_OF_FREE,
    decode_in_strips,
    decode_within,
    whole_bytes,
)
from worker.models.vae import VAEDecoder, VAEDecoderConfig

CONFIG = VAEDecoderConfig(
    block_out_channels=(8, 16, 24),
    latent_channels=6,
    layers_per_block=2,
    norm_num_groups=4,
    scaling_factor=0.5,
    shift_factor=0.1,
)
LARGE = 32
"""Height and width of latents of which little is a strip."""


@pytest.fixture(scope="module")
def decoder() -> VAEDecoder:
    torch.manual_seed(0)
    return VAEDecoder(CONFIG).requires_grad_(False).eval()


def peak_bytes(work: Callable[[], Tensor]) -> int:
    """Count the bytes that torch has in use at most while work is done."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    assert seen.profiler is not None
    events = seen.profiler.kineto_results.events()
    changes = sorted(
        (event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"
    )
    return max(accumulate(size for _, size in changes))


@pytest.mark.parametrize("rows", [1, 7, 8, ROWS])
@pytest.mark.parametrize("size", [(5, 9), (13, 4)])
def test_strips_decode_as_the_whole_does(
    decoder: VAEDecoder, size: tuple[int, int], rows: int
) -> None:
    latents = torch.randn(2, 6, *size)

    torch.testing.assert_close(
        decode_in_strips(decoder, latents, rows), decoder(latents), atol=1e-5, rtol=0
    )


def test_what_differs_does_not_differ_more_where_strips_meet(decoder: VAEDecoder) -> None:
    latents = torch.randn(4, 6, 24, 24)
    error = (decode_in_strips(decoder, latents, rows=16) - decoder(latents)).abs()
    meets = torch.zeros(96, dtype=torch.bool)
    for row in range(16, 96, 16):
        meets[[row - 1, row]] = True

    assert 0 < error.max() < 1e-5
    assert error[:, :, meets].mean() < 1.5 * error[:, :, ~meets].mean()


def test_strips_take_less_memory(decoder: VAEDecoder) -> None:
    latents = torch.randn(1, 6, LARGE, LARGE)

    whole = peak_bytes(lambda: decoder(latents))
    strips = peak_bytes(lambda: decode_in_strips(decoder, latents, rows=8))

    assert strips < 0.7 * whole
    assert whole <= whole_bytes(CONFIG, latents)


@pytest.mark.parametrize(
    ("images", "parts"), [(0, [1, 1, 1]), (1, [1, 1, 1]), (2, [2, 1]), (3, [3])]
)
def test_as_many_are_decoded_at_once_as_fit(
    decoder: VAEDecoder, images: int, parts: list[int]
) -> None:
    latents = torch.randn(3, 6, LARGE, LARGE)
    free = images * SHARE_OF_FREE * whole_bytes(CONFIG, latents) + 1
    one = whole_bytes(CONFIG, latents)
    taken = peak_bytes(lambda: decode_within(decoder, latents, free))

    torch.testing.assert_close(
        decode_within(decoder, latents, free), decoder(latents), atol=1e-4, rtol=0
    )
    assert taken < (max(parts) + 0.5) * one  # and the pixels


def test_without_knowing_what_is_free_all_are_decoded_at_once(decoder: VAEDecoder) -> None:
    latents = torch.randn(2, 6, 8, 8)

    assert torch.equal(decode_within(decoder, latents, 0), decoder(latents))
