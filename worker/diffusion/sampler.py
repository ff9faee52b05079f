"""The denoising loop."""

from __future__ import annotations

from typing import Protocol

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from worker.diffusion.guidance import guide


class Denoiser(Protocol):
    """A network that predicts what the scheduler expects (noise, sample or velocity)."""

    def __call__(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Map latents (B, C, H, W), timesteps (B,), text (B, T, D) to (B, C, H, W)."""
        ...


def denoise(
    denoiser: Denoiser,
    scheduler: DPMSolverMultistepScheduler,
    noise: Tensor,
    negative_context: Tensor,
    context: Tensor,
    *,
    guidance_scale: Tensor,
    guidance_rescale: Tensor,
) -> Tensor:
    """Walk from noise to clean latents along the scheduler's timesteps.

    Args:
        denoiser: run once a step on the guidance pair, negative prompts first.
        scheduler: fresh, with its timesteps set; used up by the call.
        noise: standard normal latents, (B, C, H, W).
        negative_context: text tokens of the negative prompts, (B, T, D).
        context: text tokens of the prompts, (B, T, D).
        guidance_scale: (B,); 1 everywhere skips the unconditional half.
        guidance_rescale: (B,), 0 to 1.

    Returns:
        Latents, (B, C, H, W), before the VAE's scaling is undone.
    """
    batch = noise.shape[0]
    scale = guidance_scale.view(batch, 1, 1, 1)
    rescale = guidance_rescale.view(batch, 1, 1, 1)
    guided = bool((guidance_scale != 1).any())
    paired_context = torch.cat([negative_context, context]) if guided else context
    latents = noise * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        sample = torch.cat([latents, latents]) if guided else latents
        timesteps = timestep.to(sample.device).expand(sample.shape[0])
        prediction = denoiser(sample, timesteps, paired_context)
        if guided:
            unconditional, conditional = prediction.chunk(2)
            prediction = guide(unconditional, conditional, scale, rescale)
        latents = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
    return latents
