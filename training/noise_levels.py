"""Which noise levels a batch is trained at, and how much each weighs in the loss."""

from __future__ import annotations

import torch
from torch import Tensor

from training.config import PhaseConfig, SampleConfig
from worker.diffusion.schedule import Scheduler, build_scheduler, with_timesteps


def solver(config: SampleConfig) -> Scheduler:
    """Return the sampler's solver, fresh, with the timesteps that it calls the denoiser at."""
    scheduler = with_timesteps(build_scheduler(), config.grid_steps, config.parsed_squeeze)
    if config.timesteps is not None:
        scheduler.set_timesteps(timesteps=list(config.timesteps))
    return scheduler


class NoiseLevels:
    """Timesteps of a phase's batches: stratified over all, or over the solver's own."""

    def __init__(self, config: PhaseConfig, sample: SampleConfig) -> None:
        scheduler = build_scheduler()
        cumulative: Tensor = scheduler.alphas_cumprod
        self.signal, self.noise = cumulative.sqrt(), (1.0 - cumulative).sqrt()
        self.weights = torch.ones_like(cumulative)
        if config.loss_weighting == "min-snr":
            self.weights = min_snr_weights(cumulative, config.min_snr_gamma)
        self._all = torch.arange(len(cumulative))
        self.own: Tensor = solver(sample).timesteps
        self._share = config.solver_share

    def draw(self, batch: int, generator: torch.Generator) -> Tensor:
        """Return timesteps (B,) int64."""
        places = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
        is_own = torch.rand(batch, generator=generator) < self._share
        return torch.where(is_own, _at(self.own, places), _at(self._all, places))

    def mix(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Return noisy latents, and the velocity that leads to them (B, C, h, w).

        The velocity is that of Salimans and Ho 2022, arXiv 2202.00512.

        Args:
            clean: latents (B, C, h, w) of unit variance.
            noise: standard normal, of their shape and on their device.
            timesteps: (B,), in RAM.
        """
        signal_part, noise_part = (
            part[timesteps].view(-1, 1, 1, 1).to(clean.device) for part in (self.signal, self.noise)
        )
        return signal_part * clean + noise_part * noise, signal_part * noise - noise_part * clean


def _at(timesteps: Tensor, places: Tensor) -> Tensor:
    # Rounding may lift the last place to 1.
    return timesteps[(places * len(timesteps)).long().clamp(max=len(timesteps) - 1)]


def min_snr_weights(cumulative: Tensor, gamma: float) -> Tensor:
    """Return the weight of the velocity's squared error at every timestep, (T,).

    That is min(SNR, gamma) / (SNR + 1) with SNR = ᾱ / (1 - ᾱ) (Hang et al. 2023, arXiv
    2303.09556, section 3.4).

    Args:
        cumulative: ᾱ at every timestep, (T,).
        gamma: where the weight of clean latents stops to grow.
    """
    snr = cumulative / (1.0 - cumulative)
    return snr.clamp(max=gamma) / (snr + 1.0)
