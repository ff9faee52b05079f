"""Classifier-free guidance, and the noise that an image starts from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from worker.diffusion.guidance import guide
from worker.diffusion.noise import initial_noise

SHAPE = (4, 8, 8)
GOLDEN_NOISE = [-0.1117186, -0.4965901, 0.1630737, -0.8816878]


def predictions() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn((2, 3, *SHAPE), generator=generator, dtype=torch.float64)
    return drawn[0], drawn[1] * 1.7


def each(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1)


def test_a_scale_of_one_is_the_conditional_prediction() -> None:
    unconditional, conditional = predictions()

    guided = guide(unconditional, conditional, each(1, 1, 1), each(0, 0.5, 1))

    torch.testing.assert_close(guided, conditional)


def test_a_scale_of_zero_is_the_unconditional_prediction() -> None:
    unconditional, conditional = predictions()

    guided = guide(unconditional, conditional, each(0, 0, 0), each(0, 0, 0))

    torch.testing.assert_close(guided, unconditional)


def test_without_rescale_it_is_plain_extrapolation() -> None:
    unconditional, conditional = predictions()

    guided = guide(unconditional, conditional, each(7.5, 7.5, 7.5), each(0, 0, 0))

    torch.testing.assert_close(guided, 7.5 * conditional - 6.5 * unconditional)


def test_full_rescale_gives_each_image_the_contrast_of_its_conditional_prediction() -> None:
    unconditional, conditional = predictions()

    guided = guide(unconditional, conditional, each(2, 7.5, 20), each(1, 1, 1))

    torch.testing.assert_close(guided.std(dim=(1, 2, 3)), conditional.std(dim=(1, 2, 3)))


def test_rescale_mixes_the_plain_and_the_rescaled_prediction() -> None:
    unconditional, conditional = predictions()
    scale = each(7.5, 7.5, 7.5)
    plain, rescaled, mixed = (
        guide(unconditional, conditional, scale, each(share, share, share)) for share in (0, 1, 0.8)
    )

    torch.testing.assert_close(mixed, 0.2 * plain + 0.8 * rescaled)


def test_every_image_of_a_batch_has_its_own_scale_and_rescale() -> None:
    unconditional, conditional = predictions()
    scales, rescales = each(1, 5, 9), each(0, 0.5, 1)

    together = guide(unconditional, conditional, scales, rescales)

    for i in range(3):
        one = slice(i, i + 1)
        alone = guide(unconditional[one], conditional[one], scales[one], rescales[one])
        torch.testing.assert_close(together[one], alone)


def test_noise_is_the_seeds_alone() -> None:
    before = initial_noise(7, SHAPE)
    torch.rand(10)
    initial_noise(8, SHAPE)

    assert torch.equal(initial_noise(7, SHAPE), before)
    assert not torch.equal(initial_noise(8, SHAPE), before)


def test_drawing_noise_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)

    initial_noise(7, SHAPE)

    assert torch.equal(torch.rand(4), expected)


def test_noise_is_standard_normal_in_single_precision() -> None:
    noise = initial_noise(2**32 - 1, (4, 64, 64))

    assert (noise.dtype, noise.device.type) == (torch.float32, "cpu")
    assert float(noise.mean()) == pytest.approx(0, abs=0.03)
    assert float(noise.std()) == pytest.approx(1, abs=0.03)


def test_the_noise_of_a_seed_stays_the_same_from_version_to_version() -> None:
    first = initial_noise(1234, SHAPE).flatten()[:4]

    assert first.tolist() == pytest.approx(GOLDEN_NOISE, abs=1e-6)
