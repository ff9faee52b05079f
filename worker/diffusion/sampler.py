"""The denoising loop."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from shared.domain.quality import EXACTLY, Shortcuts
from worker.diffusion.guidance import guide
from worker.diffusion.reuse import DeepDenoiser, Remembering
from worker.diffusion.schedule import Solver, noise_level


class Denoiser(Protocol):
    """A network that predicts what the scheduler expects (noise, sample or velocity)."""

    def __call__(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Map latents (B, C, H, W), timesteps (B,), text (R, T, D) to (R, C, H, W).

        R is B or 2 B: the second half of the texts meets the same latents.
        """
        ...


def denoise(
    denoiser: Denoiser,
    scheduler: Solver,
    noise: Tensor,
    contexts: Tensor,
    *,
    guidance_scale: Tensor,
    guidance_rescale: Tensor,
    shortcuts: Shortcuts = EXACTLY,
    deep: DeepDenoiser | None = None,
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
        shortcuts: what the images are drawn without.
        deep: the same denoiser, where it can reuse features; None computes them in each step.

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
    guided_steps = _guided_steps(scheduler, guidance_scale, shortcuts)
    if deep is not None and shortcuts.feature_reuse > 1:
        denoiser = Remembering(deep, shortcuts.feature_reuse, batch)
    prompts = contexts[batch:]
    latents = noise.to(working) * scheduler.init_noise_sigma
    on_device = scheduler.timesteps.to(noise.device)
    for index, guided in enumerate(guided_steps):
        timestep = scheduler.timesteps[index]
        sample = scheduler.scale_model_input(latents, timestep).to(noise.dtype)
        timesteps = on_device[index].expand(sample.shape[0])
        prediction = denoiser(sample, timesteps, contexts if guided else prompts).to(working)
        if guided:
            unconditional, conditional = prediction.chunk(2)
            prediction = guide(unconditional, conditional, scale, rescale)
        latents = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
    return latents.to(noise.dtype)


def _guided_steps(scheduler: Solver, scale: Tensor, shortcuts: Shortcuts) -> list[bool]:
    """Tell of each step whether both halves of the guidance pair run in it."""
    is_guided = bool((scale != 1).any())
    if not is_guided or shortcuts.guidance_interval is None:
        return [is_guided] * len(scheduler.timesteps)
    return [
        shortcuts.is_guided_at(noise_level(scheduler, float(timestep)))
        for timestep in scheduler.timesteps
    ]
