"""The KL autoencoder: pictures of (3, 64, 64) to latents of (channels, 8, 8) and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from training import loop
from training.config import AutoencoderConfig, RunConfig
from training.data.dataset import Dataset

_CHUNK = 64
#: File of the latents (N, channels, h, w) of all pictures, below a run's folder.
LATENTS = "latents.pt"


def create(config: AutoencoderConfig, image_size: int) -> Any:
    """Return an untrained autoencoder; each level but the last halves the picture."""
    levels = len(config.model["block_out_channels"])
    kind: Any = AutoencoderKL
    return kind(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        sample_size=image_size,
        **config.model,
    ).to(memory_format=torch.channels_last)


def load(folder: Path) -> Any:
    """Read a finished autoencoder in float32."""
    kind: Any = AutoencoderKL
    vae = kind.from_pretrained(folder, torch_dtype=torch.float32)
    return vae.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def as_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """Return uint8 pictures (N, H, W, 3) as floats (N, 3, H, W) in [-1, 1], channels last."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def as_images(pixels: Tensor) -> npt.NDArray[np.uint8]:
    """Return floats (N, 3, H, W) in [-1, 1] as uint8 pictures (N, H, W, 3)."""
    scaled = pixels.float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).numpy()


def reconstruction_losses(
    drawn: Tensor, target: Tensor, gradient_weight: float
) -> dict[str, Tensor]:
    """Return errors of pictures (N, 3, H, W): absolute, squared, of edges; "loss" is their sum."""
    error = drawn - target
    l1, l2 = error.abs().mean(), error.square().mean()
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return {"loss": l1 + l2 + gradient_weight * edges, "l1": l1, "l2": l2, "edges": edges}


def train(run: RunConfig, data: Dataset, folder: Path) -> Any:
    """Train the whole autoencoder; leave the latents of all pictures, standardised, in `folder`."""
    if (folder / "vae").exists():
        return load(folder / "vae")
    config = run.autoencoder
    torch.manual_seed(run.seed)
    vae = create(config, run.data.image_size)
    weights = sampling_weights(data, run.data.core_weight)

    def losses(step: int) -> dict[str, Tensor]:
        generator = loop.step_generator(run.seed, step)
        chosen = torch.multinomial(weights, config.batch, generator=generator)
        target = as_tensor(data.images[chosen.numpy()])
        with torch.autocast("cpu", torch.bfloat16, enabled=run.autocast):
            posterior = vae.encode(target).latent_dist
            mean, deviation = posterior.mean.float(), posterior.std.float()
            noise = torch.randn(mean.shape, generator=generator)
            drawn = vae.decode(mean + deviation * noise).sample.float()
        found = reconstruction_losses(drawn, target, config.gradient_weight)
        kl = 0.5 * (mean.square() + deviation.square() - 2.0 * deviation.log() - 1.0).mean()
        return found | {"loss": found["loss"] + config.kl_weight * kl, "kl": kl}

    stage = loop.Stage(
        "autoencoder",
        {"vae": vae},
        list(vae.parameters()),
        losses,
        config.optimiser,
        config.steps,
        config.batch,
    )
    loop.run(stage, folder, run.checkpoint_seconds)
    vae.eval().requires_grad_(False)
    standardise(vae, data.images)
    torch.save(encode(vae, data.images), folder / LATENTS)
    vae.save_pretrained(folder / "vae")
    return vae


@torch.no_grad()
def standardise(vae: Any, images: npt.NDArray[np.uint8]) -> None:
    """Give each latent channel zero mean and unit variance, by the 1x1 convolutions around it.

    The pictures stay the same, and nobody downstream needs a scaling factor. A channel's
    variance includes the posterior's own: one that carries nothing is not blown up.
    """
    moments = [vae.encode(as_tensor(part)).latent_dist for part in chunks(images)]
    mean = torch.cat([part.mean for part in moments])
    within = torch.cat([part.var for part in moments]).mean(dim=(0, 2, 3))
    shift, scale = mean.mean(dim=(0, 2, 3)), (mean.var(dim=(0, 2, 3)) + within).rsqrt()
    into, out_of, channels = vae.quant_conv, vae.post_quant_conv, len(shift)
    out_of.bias += out_of.weight[:, :, 0, 0] @ shift
    out_of.weight /= scale.view(1, -1, 1, 1)
    into.bias[:channels] = (into.bias[:channels] - shift) * scale
    into.weight[:channels] *= scale.view(-1, 1, 1, 1)
    into.bias[channels:] += 2.0 * scale.log()
    vae.register_to_config(scaling_factor=1.0)


def sampling_weights(data: Dataset, core_weight: float) -> Tensor:
    """Return how often each picture (N,) is drawn: core concepts more, held-out pairs never."""
    return torch.tensor(
        [0.0 if row.split != "train" else core_weight if row.core else 1.0 for row in data.rows]
    )


def chunks(images: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    """Cut pictures into parts that fit into memory."""
    return [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]


@torch.no_grad()
def encode(vae: Any, images: npt.NDArray[np.uint8]) -> Tensor:
    """Return latents (N, channels, h, w), the posterior's means."""
    return torch.cat([vae.encode(as_tensor(part)).latent_dist.mean for part in chunks(images)])


@torch.no_grad()
def decode(vae: Any, latents: Tensor) -> npt.NDArray[np.uint8]:
    """Return pictures (N, H, W, 3) of latents (N, channels, h, w)."""
    return as_images(torch.cat([vae.decode(part).sample for part in torch.split(latents, _CHUNK)]))
