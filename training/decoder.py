"""The autoencoder's decoder, trained on alone: the latents stay as they are.

They get a little noise, as a denoiser leaves it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training import autoencoder, loop
from training.config import RunConfig
from training.lessons import open_lessons


class LatentsToPictures(nn.Module):
    """The decoding half of an autoencoder."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.post_quant_conv = vae.post_quant_conv
        self.decoder = vae.decoder

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents (B, C, h, w) to pictures (B, 3, H, W)."""
        pictures: Tensor = self.decoder(self.post_quant_conv(latents))
        return pictures


def train(run: RunConfig, folder: Path) -> None:
    """Train on the latents of the autoencoder in `folder`; leave the decoder in a checkpoint."""
    config = run.decoder
    lessons = open_lessons(run, config, folder)
    model = LatentsToPictures(autoencoder.load(folder / "vae")).requires_grad_(True)

    def batch(step: int, part: slice) -> tuple[Tensor, Tensor]:
        generator = loop.step_generator(run.seed, step)
        lesson = lessons(step, part, generator)
        clean = lesson.latents
        noise = torch.randn((config.batch, *clean.shape[1:]), generator=generator)[part]
        return clean + config.latent_noise * noise.to(clean.device), lesson.images

    def losses(network: nn.Module, noisy: Tensor, images: Tensor) -> loop.Losses:
        target = autoencoder.to_floats(images)
        return autoencoder.reconstruction_losses(network(noisy), target, config.gradient_weight)

    stage = loop.Stage("decoder", model, {"decoder": model}, batch, losses, config)
    loop.run(stage, folder, run.checkpoint_seconds, autocast=run.autocast)


def load_into(vae: Any, folder: Path) -> None:
    """Give an autoencoder the decoder of the last checkpoint."""
    state = loop.read_checkpoint(folder, "decoder")
    LatentsToPictures(vae).load_state_dict(state["modules"]["decoder"])
