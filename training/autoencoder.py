"""The KL autoencoder: pictures of (3, 64, 64) to latents of (channels, 8, 8) and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from training import loop, parallel
from training.config import AutoencoderConfig, RunConfig
from training.data.batches import open_images, open_stream
from training.data.dataset import Dataset, load_dataset
from training.data.stream import Example

#: Most pictures, and pixels, that go through the autoencoder at a time.
_CHUNK = 64
_CHUNK_PIXELS = 8 * 512**2
#: File of the latents (N, channels, h, w) of all pictures, below a run's folder.
LATENTS = "latents.pt"
#: The same of pictures that were shrunk before.
SMALLER_LATENTS = "latents-{size}.pt"


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
    return to_floats(torch.from_numpy(images))


def to_floats(images: Tensor) -> Tensor:
    """Return uint8 pictures (N, H, W, 3) as floats (N, 3, H, W) in [-1, 1], channels last."""
    return images.permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def as_images(pixels: Tensor) -> npt.NDArray[np.uint8]:
    """Return floats (N, 3, H, W) in [-1, 1] as uint8 pictures (N, H, W, 3)."""
    scaled = pixels.float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).cpu().numpy()


def reconstruction_losses(
    drawn: Tensor, target: Tensor, gradient_weight: float
) -> dict[str, Tensor]:
    """Return errors of pictures (N, 3, H, W): absolute, squared, of edges; "loss" is their sum."""
    error = drawn - target
    l1, l2 = error.abs().mean(), error.square().mean()
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return {"loss": l1 + l2 + gradient_weight * edges, "l1": l1, "l2": l2, "edges": edges}


class Reconstruction(nn.Module):
    """An autoencoder's whole way, from pictures to pictures."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, pictures: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map pictures (B, 3, H, W) and noise (B, C, h, w) to pictures, means and deviations."""
        posterior = self.vae.encode(pictures).latent_dist
        mean, deviation = posterior.mean.float(), posterior.std.float()
        return self.vae.decode(mean + deviation * noise).sample.float(), mean, deviation


def train(run: RunConfig, folder: Path) -> None:
    """Train the whole autoencoder; leave it, its latents standardised, in `folder`."""
    if (folder / "vae").exists():
        return
    config = run.autoencoder
    torch.manual_seed(run.seed)
    vae = create(config, run.data.image_size)
    images_of = open_images(run, config, folder)
    latent_shape = (config.batch, config.model["latent_channels"], *(run.latent_size,) * 2)

    def batch(step: int, part: slice) -> tuple[Tensor, Tensor]:
        generator = loop.step_generator(run.seed, step)
        images = images_of(step, part, generator)
        return images, torch.randn(latent_shape, generator=generator)[part]

    def losses(network: nn.Module, images: Tensor, noise: Tensor) -> loop.Losses:
        target = to_floats(images)
        drawn, mean, deviation = network(target, noise)
        found = reconstruction_losses(drawn, target, config.gradient_weight)
        kl = 0.5 * (mean.square() + deviation.square() - 2.0 * deviation.log() - 1.0).mean()
        return found | {"loss": found["loss"] + config.kl_weight * kl, "kl": kl}

    stage = loop.Stage("autoencoder", Reconstruction(vae), {"vae": vae}, batch, losses, config)
    loop.run(stage, folder, run.checkpoint_seconds, autocast=run.autocast)
    vae.eval().requires_grad_(False)
    with parallel.main_first():
        if not (folder / "vae").exists():
            _finish(vae, run, folder)


def _finish(vae: Any, run: RunConfig, folder: Path) -> None:
    """Standardise the latents and write the autoencoder; of emoji, all latents too."""
    if run.data.source == "emoji":
        images = load_dataset(folder / "data").images
        standardise(vae, chunks(images))
        torch.save(encode(vae, images), folder / LATENTS)
    else:
        examples = islice(open_stream(run.data, run.seed).epoch(0), run.autoencoder.standardised_on)
        standardise(vae, _stacked(examples, _chunk(run.data.image_size)))
    vae.save_pretrained(folder / "vae")


def _stacked(examples: Iterator[Example], count: int) -> Iterator[npt.NDArray[np.uint8]]:
    while part := list(islice(examples, count)):
        yield torch.stack([image for image, _ in part]).numpy()


def latents_of_size(run: RunConfig, data: Dataset, folder: Path, size: int) -> Tensor:
    """Return latents (N, channels, h, w) of all pictures, shrunk to a height and width before.

    They are kept in `folder`, which holds the finished autoencoder.
    """
    if size == run.data.image_size:
        path = folder / LATENTS
    else:
        path = folder / SMALLER_LATENTS.format(size=size)
        with parallel.main_first():
            if not path.exists():
                vae = load(folder / "vae").to(parallel.state().device)
                torch.save(encode(vae, data.images, size), path)
    latents: Tensor = torch.load(path, map_location="cpu", weights_only=True)
    return latents


@torch.no_grad()
def standardise(vae: Any, images: Iterable[npt.NDArray[np.uint8]]) -> None:
    """Give each latent channel zero mean and unit variance, by the 1x1 convolutions around it.

    The pictures stay the same, and nobody downstream needs a scaling factor. A channel's
    variance includes the posterior's own: one that carries nothing is not blown up.

    Args:
        vae: the autoencoder.
        images: parts (N, H, W, 3) of the pictures whose latents are to be so.
    """
    moments = [vae.encode(as_tensor(part).to(vae.device)).latent_dist for part in images]
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


def chunks(images: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    """Cut pictures into parts that fit into memory."""
    count = _chunk(images.shape[1])
    return [images[start : start + count] for start in range(0, len(images), count)]


def _chunk(size: int) -> int:
    return min(_CHUNK, max(1, _CHUNK_PIXELS // size**2))


@torch.no_grad()
def encode(vae: Any, images: npt.NDArray[np.uint8], size: int | None = None) -> Tensor:
    """Return latents (N, channels, h, w) in RAM, the posterior's means.

    Args:
        vae: the autoencoder.
        images: pictures (N, H, W, 3).
        size: height and width that they are shrunk to before.
    """
    found = []
    for part in chunks(images):
        pictures = as_tensor(part).to(vae.device)
        if size is not None and size != pictures.shape[-1]:
            pictures = shrunk(pictures, size)
        found.append(vae.encode(pictures).latent_dist.mean.cpu())
    return torch.cat(found)


@torch.no_grad()
def encode_on_device(vae: Any, images: Tensor) -> Tensor:
    """Return latents (N, channels, h, w) of pictures (N, H, W, 3) where the autoencoder is."""
    parts = torch.split(images.to(vae.device), _chunk(images.shape[1]))
    return torch.cat([vae.encode(to_floats(part)).latent_dist.mean for part in parts])


def shrunk(pictures: Tensor, size: int) -> Tensor:
    """Return pictures (N, 3, H, W) in [-1, 1] at a smaller height and width."""
    smaller = functional.interpolate(pictures, (size, size), mode="bicubic", antialias=True)
    return smaller.clamp(-1.0, 1.0).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def decode(vae: Any, latents: Tensor) -> npt.NDArray[np.uint8]:
    """Return pictures (N, H, W, 3) of latents (N, channels, h, w)."""
    return as_images(torch.cat([vae.decode(part).sample for part in torch.split(latents, _CHUNK)]))
