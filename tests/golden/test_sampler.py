"""The denoising loop against a problem whose answer is known in closed form.

If the data are Gaussian, N(mean, deviation²) for every value alike, the best prediction of
velocity is known, and so is where the probability flow carries a given noise.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from shared.domain.sampling import Squeeze
from worker.diffusion.guidance import guide
from worker.diffusion.noise import initial_noise
from worker.diffusion.sampler import denoise
from worker.diffusion.schedule import build_scheduler, with_timesteps

MEAN, DEVIATION = 0.7, 0.4
SHAPE = (4, 8, 8)
TEN_SQUEEZED = (16, Squeeze(10, 6))

GOLDEN_MEAN = 0.6716473
GOLDEN_DEVIATION = 0.3233555
GOLDEN_VALUES = [0.4135434, 0.8376008, 1.0131432]
"""Seed 7 after ten squeezed steps: computed once, here to notice a change."""


class GaussianDenoiser:
    """Predicts the velocity α·ε - σ·x₀ (Salimans and Ho 2022) in expectation."""

    def __init__(self) -> None:
        self._alphas_cumprod = build_scheduler().alphas_cumprod
        self.calls = 0

    def __call__(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        self.calls += 1
        alpha_squared = self._alphas_cumprod[timestep].view(-1, 1, 1, 1)
        alpha, sigma = alpha_squared.sqrt(), (1 - alpha_squared).sqrt()
        mean = MEAN + encoder_hidden_states.mean(dim=(1, 2)).view(-1, 1, 1, 1)
        variance = alpha_squared * DEVIATION**2 + sigma**2
        clean = mean + alpha * DEVIATION**2 / variance * (sample - alpha * mean)
        noise = (sample - alpha * clean) / sigma
        return alpha * noise - sigma * clean


def sample(
    steps: int,
    squeeze: Squeeze | None,
    *,
    seeds: tuple[int, ...] = (0, 1),
    scale: float = 1.0,
    shift: float = 0.0,
) -> Tensor:
    count = len(seeds)
    return denoise(
        GaussianDenoiser(),
        with_timesteps(build_scheduler(), steps, squeeze),
        torch.stack([initial_noise(seed, SHAPE) for seed in seeds]),
        torch.zeros(count, 3, 5),
        torch.full((count, 3, 5), shift),
        guidance_scale=torch.full((count,), scale),
        guidance_rescale=torch.zeros(count),
    )


def exact(seeds: tuple[int, ...] = (0, 1)) -> Tensor:
    """Where the flow ends: every value keeps its place within the distribution."""
    noise = torch.stack([initial_noise(seed, SHAPE) for seed in seeds])
    return MEAN + DEVIATION * noise


def error(drawn: Tensor) -> float:
    return float((drawn - exact()).pow(2).mean().sqrt())


def test_many_steps_reach_the_exact_solution() -> None:
    assert error(sample(500, None)) < 0.005


def test_ten_squeezed_steps_come_close_to_it() -> None:
    assert error(sample(*TEN_SQUEEZED)) < 0.15 * DEVIATION


def test_more_steps_are_better() -> None:
    assert error(sample(100, None)) < error(sample(16, None)) < error(sample(4, None))


def test_the_loop_gives_the_golden_values() -> None:
    drawn = sample(*TEN_SQUEEZED, seeds=(7,))
    assert float(drawn.mean()) == pytest.approx(GOLDEN_MEAN, abs=1e-5)
    assert float(drawn.std()) == pytest.approx(GOLDEN_DEVIATION, abs=1e-5)
    assert drawn[0, 0, 0, :3].tolist() == pytest.approx(GOLDEN_VALUES, abs=1e-5)


def test_a_batch_gives_what_its_images_give_alone() -> None:
    together = sample(*TEN_SQUEEZED, seeds=(3, 4, 5))
    alone = torch.cat([sample(*TEN_SQUEEZED, seeds=(seed,)) for seed in (3, 4, 5)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_guidance_overshoots_towards_the_prompt() -> None:
    plain = sample(*TEN_SQUEEZED, shift=0.5)
    guided = sample(*TEN_SQUEEZED, shift=0.5, scale=3.0)
    assert float(plain.mean()) == pytest.approx(MEAN + 0.5, abs=0.05)
    assert float(guided.mean()) == pytest.approx(MEAN + 1.5, abs=0.1)


@pytest.mark.parametrize(("scale", "width"), [(1.0, 1), (2.0, 2)])
def test_the_guidance_pair_runs_only_where_it_is_needed(scale: float, width: int) -> None:
    seen: list[int] = []

    def denoiser(sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        assert timestep.shape == (sample.shape[0],)
        seen.append(sample.shape[0])
        return sample

    denoise(
        denoiser,
        with_timesteps(build_scheduler(), *TEN_SQUEEZED),
        torch.zeros(1, *SHAPE),
        torch.zeros(1, 3, 5),
        torch.zeros(1, 3, 5),
        guidance_scale=torch.tensor([scale]),
        guidance_rescale=torch.zeros(1),
    )
    assert seen == [width] * 10


def test_noise_depends_on_its_seed_alone() -> None:
    first = initial_noise(5, SHAPE)
    torch.manual_seed(99)
    torch.randn(1000)
    assert torch.equal(first, initial_noise(5, SHAPE))
    assert not torch.equal(first, initial_noise(6, SHAPE))
    assert initial_noise(2**32 - 1, SHAPE).isfinite().all()


def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    unconditional = torch.randn(2, *SHAPE, generator=generator)
    return unconditional, 2 * torch.randn(2, *SHAPE, generator=generator)


def guided(scale: float, rescale: float) -> Tensor:
    unconditional, conditional = pair()
    shape = (2, 1, 1, 1)
    return guide(unconditional, conditional, torch.full(shape, scale), torch.full(shape, rescale))


def test_a_scale_of_one_is_the_conditional_prediction() -> None:
    assert torch.allclose(guided(1.0, 0.0), pair()[1], atol=1e-6)


def test_without_rescaling_guidance_is_the_plain_extrapolation() -> None:
    unconditional, conditional = pair()
    expected = unconditional + 7.5 * (conditional - unconditional)
    assert torch.equal(guided(7.5, 0.0), expected)


def test_full_rescaling_gives_each_image_back_its_contrast() -> None:
    _, conditional = pair()
    axes = (1, 2, 3)
    assert torch.allclose(guided(7.5, 1.0).std(dim=axes), conditional.std(dim=axes), rtol=1e-5)


def test_rescaling_in_part_lies_between() -> None:
    none, half, full = guided(7.5, 0.0), guided(7.5, 0.5), guided(7.5, 1.0)
    assert torch.allclose(half, (none + full) / 2, rtol=1e-5)


def test_the_first_sigma_is_that_of_the_first_timestep_and_the_last_that_of_zero() -> None:
    scheduler = with_timesteps(build_scheduler(), *TEN_SQUEEZED)
    alphas = scheduler.alphas_cumprod
    expected = [((1 - alphas[t]) / alphas[t]).sqrt() for t in [*scheduler.timesteps.tolist(), 0]]
    assert scheduler.sigmas.tolist() == pytest.approx(
        [float(sigma) for sigma in expected], rel=1e-4
    )


def test_a_checkpoints_own_settings_win() -> None:
    scheduler = build_scheduler({"prediction_type": "epsilon", "_class_name": "ignored"})
    assert scheduler.config.prediction_type == "epsilon"
    assert scheduler.config.beta_schedule == "squaredcos_cap_v2"
