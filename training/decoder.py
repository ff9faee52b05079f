"""The autoencoder's decoder, trained on alone: the latents stay as they are.

They get a little noise, as a denoiser leaves it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training import autoencoder, loop, parallel
from training.config import RunConfig
from training.data.dataset import load_dataset


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
    """Train on the latents in `folder`; leave the decoder in a checkpoint."""
    config = run.decoder
    dataset = load_dataset(folder / "data")
    latents: Tensor = torch.load(folder / autoencoder.LATENTS, weights_only=True)
    model = LatentsToPictures(autoencoder.load(folder / "vae")).requires_grad_(True)
    network = parallel.share(model)
    weights = autoencoder.sampling_weights(dataset, run.data.core_weight)

    def losses(step: int) -> dict[str, Tensor]:
        generator = loop.step_generator(run.seed, step)
        chosen = torch.multinomial(weights, config.batch, generator=generator)
        clean = latents[chosen]
        noisy = clean + config.latent_noise * torch.randn(clean.shape, generator=generator)
        target = autoencoder.as_tensor(dataset.images[parallel.part(chosen).numpy()])
        with torch.autocast("cpu", torch.bfloat16, enabled=run.autocast):
            drawn = network(parallel.part(noisy)).float()
        return autoencoder.reconstruction_losses(drawn, target, config.gradient_weight)

    stage = loop.Stage(
        "decoder",
        {"decoder": model},
        list(model.parameters()),
        losses,
        config.optimiser,
        config.steps,
        config.batch,
    )
    loop.run(stage, folder, run.checkpoint_seconds)


def load_into(vae: Any, folder: Path) -> None:
    """Give an autoencoder the decoder of the last checkpoint."""
    state: dict[str, Any] = torch.load(folder / "decoder.pt", weights_only=True)
    LatentsToPictures(vae).load_state_dict(state["modules"]["decoder"])
