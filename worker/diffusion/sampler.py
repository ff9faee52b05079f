"""The denoising loop."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from worker.diffusion.guidance import guide
from worker.diffusion.schedule import Solver


class Denoiser(Protocol):
    """A network that predicts what the scheduler expects (noise, sample or velocity)."""

    def __call__(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Map latents (B, C, H, W), timesteps (B,), text (B, T, D) to (B, C, H, W)."""
        ...


def denoise(
    denoiser: Denoiser,
    scheduler: Solver,
    noise: Tensor,
    contexts: Tensor,
    *,
    guidance_scale: Tensor,
    guidance_rescale: Tensor,
) -> Tensor:
    """Walk from noise to clean latents along the scheduler's timesteps.

    Args:
        denoiser: run once a step on the guidance pair, negative prompts first.
        scheduler: fresh, with its timesteps set; used up by the call.
        noise: standard normal latents, (B, C, H, W), on the denoiser's device and in its
            precision; between its calls latents are kept in float32 at least.
        contexts: text tokens of the negative prompts, then of the prompts, (2 B, T, D).
        guidance_scale: (B,), in RAM; 1 everywhere skips the unconditional half.
        guidance_rescale: (B,), 0 to 1, in RAM; 0 everywhere skips the rescaling.

    Returns:
        Latents, (B, C, H, W), before the VAE's scaling is undone.
    """
    batch = noise.shape[0]
    # Half precision is the network's business: Euler's first latents would not fit into it.
    working = torch.promote_types(noise.dtype, torch.float32)
    scale = guidance_scale.to(noise.device, working).view(batch, 1, 1, 1)
    rescale = (
        guidance_rescale.to(noise.device, working).view(batch, 1, 1, 1)
        if guidance_rescale.any()
        else None
    )
    guided = bool((guidance_scale != 1).any())
    context = contexts if guided else contexts[batch:]
    latents = noise.to(working) * scheduler.init_noise_sigma
    on_device = scheduler.timesteps.to(noise.device)
    for index in range(len(on_device)):  # to walk over a tensor makes all its parts at once
        timestep = scheduler.timesteps[index]
        sample = scheduler.scale_model_input(latents, timestep).to(noise.dtype)
        sample = torch.cat([sample, sample]) if guided else sample
        timesteps = on_device[index].expand(sample.shape[0])
        prediction = denoiser(sample, timesteps, context).to(working)
        if guided:
            unconditional, conditional = prediction.chunk(2)
            prediction = guide(unconditional, conditional, scale, rescale)
        latents = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
    return latents.to(noise.dtype)
