"""The denoising loop against exact solutions.

The data are a Gaussian N(mean, deviation²) a pixel, for which the best prediction and the
path of the probability flow are known in closed form.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass

import pytest
import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from shared.domain.sampling import SchedulerName, Squeeze
from support.grids import SOLVERS
from worker.diffusion.guidance import guide
from worker.diffusion.noise import initial_noise
from worker.diffusion.sampler import denoise
from worker.diffusion.schedule import build_scheduler, with_timesteps
from worker.models.rows import spread

SHAPE = (4, 8, 8)
TEN = Squeeze(10, 6)


@dataclass
class GaussianDenoiser:
    """Predicts the velocity exactly; the text says the mean of the data."""

    scheduler: DPMSolverMultistepScheduler
    deviation: float
    calls: int = 0

    def __call__(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        self.calls += 1
        rows = len(encoder_hidden_states)
        sample, timestep = spread(sample, rows), spread(timestep, rows)
        cumulative = self.scheduler.alphas_cumprod[timestep].view(-1, 1, 1, 1)
        alpha, sigma = cumulative.sqrt(), (1 - cumulative).sqrt()
        mean = encoder_hidden_states.mean(dim=(1, 2)).view(-1, 1, 1, 1)
        return (alpha * sample - self.clean(sample, alpha, sigma, mean)) / sigma

    def clean(self, sample: Tensor, alpha: Tensor, sigma: Tensor, mean: Tensor) -> Tensor:
        variance = self.deviation**2
        gain = alpha * variance / (alpha**2 * variance + sigma**2)
        return mean + gain * (sample - alpha * mean)


def context(*means: float) -> Tensor:
    return torch.tensor(means).view(-1, 1, 1).expand(-1, 3, 5)


def noise_of(*seeds: int) -> Tensor:
    return torch.stack([initial_noise(seed, SHAPE) for seed in seeds])


def draw(
    scheduler: DPMSolverMultistepScheduler,
    noise: Tensor,
    text: Tensor,
    *,
    deviation: float,
    scale: float = 1.0,
    rescale: float = 0.0,
) -> Tensor:
    batch = noise.shape[0]
    return denoise(
        GaussianDenoiser(scheduler, deviation),
        scheduler,
        noise,
        torch.cat([context(*[0.0] * batch), text]),
        guidance_scale=torch.full((batch,), scale),
        guidance_rescale=torch.full((batch,), rescale),
    )


def levels(scheduler: DPMSolverMultistepScheduler) -> tuple[Tensor, Tensor]:
    """Return alpha and sigma at every timestep and at the end."""
    ratio = scheduler.sigmas.double()
    alpha = 1 / (1 + ratio**2).sqrt()
    return alpha, alpha * ratio


def exact_flow(
    scheduler: DPMSolverMultistepScheduler, noise: Tensor, mean: float, deviation: float
) -> Tensor:
    """Solve the probability flow: a Gaussian keeps every pixel's quantile."""
    alpha, sigma = levels(scheduler)
    width = (alpha**2 * deviation**2 + sigma**2).sqrt()
    quantile = (noise.double() - alpha[0] * mean) / width[0]
    return alpha[-1] * mean + width[-1] * quantile


def dpm_solver_pp_2m(
    scheduler: DPMSolverMultistepScheduler, noise: Tensor, mean: float, deviation: float
) -> Tensor:
    """Lu et al. 2022, algorithm 2 (Heun's weights), first order at both ends, in float64."""
    alpha, sigma = levels(scheduler)
    half_logsnr = (alpha / sigma).log()
    model = GaussianDenoiser(scheduler, deviation)
    center = torch.tensor(mean, dtype=torch.float64)
    x, before, h_before = noise.double(), None, None
    last = len(alpha) - 2
    for i in range(len(alpha) - 1):
        now = model.clean(x, alpha[i], sigma[i], center)
        h = half_logsnr[i + 1] - half_logsnr[i]
        x = sigma[i + 1] / sigma[i] * x - alpha[i + 1] * torch.expm1(-h) * now
        if before is not None and h_before is not None and i < last:
            slope = (now - before) * h / h_before
            x = x + alpha[i + 1] * (torch.expm1(-h) / h + 1) * slope
        before, h_before = now, h
    return x


def rms(difference: Tensor) -> float:
    return float(difference.double().pow(2).mean().sqrt())


@pytest.mark.parametrize("squeeze", [TEN, Squeeze(11, 7)], ids=str)
@pytest.mark.parametrize(("mean", "deviation"), [(0.7, 0.5), (0.0, 1.0), (-1.0, 0.25)])
def test_the_loop_is_the_papers_algorithm(mean: float, deviation: float, squeeze: Squeeze) -> None:
    scheduler, noise = with_timesteps(build_scheduler(), 16, squeeze), noise_of(0, 1)

    drawn = draw(scheduler, noise, context(mean, mean), deviation=deviation)

    expected = dpm_solver_pp_2m(scheduler, noise, mean, deviation)
    assert rms(drawn - expected) < 1e-4


@pytest.mark.parametrize(
    ("mean", "deviation", "tolerance"), [(0.7, 0.5, 0.05), (1.5, 1.0, 0.02), (-1.0, 0.25, 0.08)]
)
def test_ten_squeezed_steps_come_close_to_the_exact_flow(
    mean: float, deviation: float, tolerance: float
) -> None:
    noise = noise_of(0, 1)
    second, first = (
        with_timesteps(build_scheduler({"solver_order": order}), 16, TEN) for order in (2, 1)
    )

    drawn, crude = (
        draw(scheduler, noise, context(mean, mean), deviation=deviation)
        for scheduler in (second, first)
    )

    exact = exact_flow(second, noise, mean, deviation)
    error = rms(drawn - exact)
    assert error < tolerance
    assert error < rms(crude - exact)
    assert error < 0.1 * rms(noise - exact)


def test_more_steps_come_closer_to_the_exact_flow() -> None:
    noise, errors = noise_of(0, 1), []
    for steps in (3, 6, 12):
        scheduler = with_timesteps(build_scheduler(), steps)
        drawn = draw(scheduler, noise, context(0.7, 0.7), deviation=0.5)
        errors.append(rms(drawn - exact_flow(scheduler, noise, 0.7, 0.5)))

    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.25 * errors[0]


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_batch_of_images_is_the_images_one_by_one(scale: float) -> None:
    means, seeds = [0.7, -0.2, 0.1], [5, 6, 7]

    together = draw(
        with_timesteps(build_scheduler(), 16, TEN),
        noise_of(*seeds),
        context(*means),
        deviation=0.5,
        scale=scale,
        rescale=0.8,
    )

    for i, (mean, seed) in enumerate(zip(means, seeds, strict=True)):
        alone = draw(
            with_timesteps(build_scheduler(), 16, TEN),
            noise_of(seed),
            context(mean),
            deviation=0.5,
            scale=scale,
            rescale=0.8,
        )
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-5, atol=1e-5)


def test_guidance_runs_on_the_pair_negative_prompts_first() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def denoiser(sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        seen.append((sample, encoder_hidden_states[:, 0, 0]))
        return encoder_hidden_states[:, 0, 0].view(-1, 1, 1, 1) * spread(sample, 4)

    scheduler, noise = with_timesteps(build_scheduler(), 4), noise_of(1, 2)
    scale, rescale = torch.tensor([3.0, 1.0]), torch.tensor([0.5, 0.5])

    drawn = denoise(
        denoiser,
        scheduler,
        noise,
        context(0.1, 0.2, 0.3, 0.4),
        guidance_scale=scale,
        guidance_rescale=rescale,
    )

    assert len(seen) == 4
    sample, texts = seen[0]
    assert torch.equal(sample, noise)
    assert texts.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])

    def guided(sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        weights = torch.tensor([[0.1, 0.2], [0.3, 0.4]]).view(2, 2, 1, 1, 1)
        return guide(
            weights[0] * sample,
            weights[1] * sample,
            scale.view(2, 1, 1, 1),
            rescale.view(2, 1, 1, 1),
        )

    by_hand = denoise(
        guided,
        with_timesteps(build_scheduler(), 4),
        noise,
        context(0, 0, 0, 0),
        guidance_scale=torch.ones(2),
        guidance_rescale=torch.zeros(2),
    )
    torch.testing.assert_close(drawn, by_hand)


def test_without_guidance_the_denoiser_runs_once_a_step_on_the_prompts_alone() -> None:
    scheduler = with_timesteps(build_scheduler(), 16, TEN)
    sizes = []

    def denoiser(sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        sizes.append((len(sample), len(timestep), len(encoder_hidden_states)))
        return sample

    denoise(
        denoiser,
        scheduler,
        noise_of(1, 2),
        context(0, 0, 1, 1),
        guidance_scale=torch.ones(2),
        guidance_rescale=torch.zeros(2),
    )

    assert sizes == [(2, 2, 2)] * 10


def test_the_first_latents_are_the_noise_at_the_schedulers_own_scale() -> None:
    scheduler = with_timesteps(build_scheduler(), 4)
    scheduler.init_noise_sigma = 3.0
    seen: list[Tensor] = []

    def denoiser(sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        seen.append(sample)
        return spread(sample, len(encoder_hidden_states))

    denoise(
        denoiser,
        scheduler,
        noise_of(1),
        context(0, 0),
        guidance_scale=torch.ones(1),
        guidance_rescale=torch.zeros(1),
    )

    assert torch.equal(seen[0], 3 * noise_of(1))


def test_the_published_scheduler_starts_from_standard_normal_latents() -> None:
    assert float(with_timesteps(build_scheduler(), 16, TEN).init_noise_sigma) == 1.0


@pytest.mark.parametrize("name", SOLVERS)
def test_the_loop_keeps_no_more_tensors_the_more_steps_it_takes(name: SchedulerName) -> None:
    assert len({alive for steps in (10, 40) for alive in tensors_alive(name, steps)}) == 1


def tensors_alive(name: SchedulerName, steps: int) -> list[int]:
    """Count the tensors there are when the denoiser is called half-way and for the last time."""
    scheduler = with_timesteps(build_scheduler(name=name), steps)
    counts: list[int] = []
    calls = iter(range(steps))

    def denoiser(sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        if next(calls) in {steps // 2, steps - 1}:
            counts.append(sum(type(found) is Tensor for found in gc.get_objects()))
        return spread(sample, len(encoder_hidden_states)) * 0.5

    denoise(
        denoiser,
        scheduler,
        noise_of(1, 2),
        context(0, 0, 1, 1),
        guidance_scale=torch.full((2,), 7.5),
        guidance_rescale=torch.zeros(2),
    )
    assert len(counts) == 2
    return counts
