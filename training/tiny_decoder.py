"""Teach a tiny decoder what a model's own decoder does with latents that the model draws.

Started again with the same folder, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shared.domain.prompts import ImageSettings
from shared.models.card import TINY_VAE, ModelCard
from shared.models.catalog import load_card
from training import autoencoder, loop, parallel
from training.config import OptimiserConfig, StageConfig
from training.data.captions import STYLES, with_article
from worker.devices import Device
from worker.loading import load_pipeline
from worker.models.tiny_vae import TinyDecoder, TinyDecoderConfig
from worker.models.weights import WEIGHTS
from worker.pipeline import Pipeline

logger = logging.getLogger(__name__)

SAMPLES = "samples.safetensors"
"""Latents (N, C, h, w) and the full decoder's pictures of them (N, H, W, 3), uint8."""
PASS_IMAGES = 8
GRADIENT_WEIGHT = 1.0
OPTIMISER = OptimiserConfig(learning_rate=2e-3, warmup_steps=100, decay_share=0.7)
CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Run:
    """What decides the weights."""

    samples: int
    held_out: int
    """The last samples, which are not trained on."""
    steps: int
    batch: int = 16
    seed: int = 1


def concept_prompts(path: Path) -> list[str]:
    """Return captions of the concepts that a file names, in every style."""
    document = tomllib.loads(path.read_text("utf-8"))
    names = [*document["core"], *document["include"]]
    looks = ["", *(f", {words[0]}" for words in STYLES.values())]
    return [with_article(name) + look for name in names for look in looks]


def draw_samples(card: ModelCard, prompts: Sequence[str], run: Run, path: Path) -> None:
    """Draw latents with the model and decode them with its own decoder, into a file."""
    if path.exists():
        return
    pipeline = load_pipeline(card, Device.parse("cpu"), threads=torch.get_num_threads())
    generator = torch.Generator().manual_seed(run.seed)
    order = torch.randint(len(prompts), (run.samples,), generator=generator).tolist()
    jobs = [
        ImageSettings(
            prompt=prompts[place],
            seed=run.seed + index,
            width=card.width,
            height=card.height,
            **card.sampler.model_dump(),
        )
        for index, place in enumerate(order)
    ]
    drawn = torch.cat(list(_drawn(pipeline, jobs)))
    trained, held_out = drawn[: -run.held_out], drawn[-run.held_out :]
    latents = torch.cat([trained, *variations(trained), held_out])
    pictures = torch.cat(
        [pipeline.backend.decode(part) for part in torch.split(latents, PASS_IMAGES)]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"latents": latents, "pictures": pictures}, path)


def _drawn(pipeline: Pipeline, jobs: Sequence[ImageSettings]) -> Iterator[Tensor]:
    for start in range(0, len(jobs), PASS_IMAGES):
        latents = pipeline.sample(jobs[start : start + PASS_IMAGES])
        yield latents.float()
        logger.info("%d of %d samples", start + len(latents), len(jobs))


def variations(latents: Tensor) -> list[Tensor]:
    """Return more latents of (N, C, h, w) that cost no step: turned around, and put together.

    What matters is how a decoder reads a few neighbouring positions, and less what they show.
    """
    _, _, height, width = latents.shape
    beside, below = latents.clone(), latents.clone()
    beside[..., width // 2 :] = latents.roll(1, dims=0)[..., width // 2 :]
    below[:, :, height // 2 :] = latents.roll(2, dims=0)[:, :, height // 2 :]
    return [latents.flip(3), beside, below]


def train(config: TinyDecoderConfig, run: Run, folder: Path) -> TinyDecoder:
    """Train on the samples in `folder`; checkpoints and log are left there too."""
    torch.manual_seed(run.seed)
    latents, pictures = load_samples(folder)
    latents, pictures = latents[: -run.held_out], pictures[: -run.held_out]
    network: Any = TinyDecoder(config)
    network.to(memory_format=torch.channels_last)

    def batch(step: int, part: slice) -> tuple[Tensor, Tensor]:
        generator = loop.step_generator(run.seed, step)
        chosen = torch.randint(len(latents), (run.batch,), generator=generator)[part]
        return latents[chosen], pictures[chosen]

    def losses(network: nn.Module, latents: Tensor, pictures: Tensor) -> loop.Losses:
        target = autoencoder.to_floats(pictures)
        return autoencoder.reconstruction_losses(network(latents), target, GRADIENT_WEIGHT)

    settings = StageConfig(optimiser=OPTIMISER, steps=run.steps, batch=run.batch)
    stage = loop.Stage(TINY_VAE, network, {TINY_VAE: network}, batch, losses, settings)
    loop.run(stage, folder, CHECKPOINT_SECONDS)
    trained: TinyDecoder = network.cpu().eval().requires_grad_(False)
    return trained


def load_samples(folder: Path) -> tuple[Tensor, Tensor]:
    """Read the latents and the pictures that were drawn into a folder."""
    samples = load_file(folder / SAMPLES)
    return samples["latents"], samples["pictures"]


@torch.no_grad()
def measure(network: TinyDecoder, latents: Tensor, pictures: Tensor) -> dict[str, float]:
    """Compare with the full decoder's pictures: shades of 0 to 255, and decibels."""
    parts = zip(torch.split(latents, 64), torch.split(pictures, 64), strict=True)
    error = torch.cat(
        [torch.from_numpy(autoencoder.as_images(network(z))).float() - p.float() for z, p in parts]
    )
    squared = error.square().mean(dim=(1, 2, 3))
    psnr = 10.0 * (255.0**2 / squared.clamp_min(1e-6)).log10()
    return {
        "images": len(latents),
        "psnr_db": round(float(psnr.mean()), 2),
        "worst_psnr_db": round(float(psnr.min()), 2),
        "mean_difference_shades": round(float(error.abs().mean()), 3),
    }


def write(network: TinyDecoder, found: dict[str, float], run: Run, folder: Path) -> None:
    """Write ``tiny_vae/`` in float16: its configuration, with what was measured, and weights."""
    out = folder / TINY_VAE
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, out / WEIGHTS)
    trained = {"samples": run.samples, "steps": run.steps, "batch": run.batch, "seed": run.seed}
    document = network.config.model_dump(mode="json") | {"trained": trained, "held_out": found}
    (out / "config.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def main() -> None:
    """Teach a tiny decoder and write it into a model's folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", help="name of a model, or its folder")
    parser.add_argument("--out", type=Path, required=True, help="model folder that gets tiny_vae/")
    parser.add_argument("--work", type=Path, default=Path("runs") / TINY_VAE)
    parser.add_argument("--prompts", type=Path, help="one a line; default: the concepts' captions")
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format=parallel.LOG_FORMAT)
    torch.set_num_threads(arguments.threads)
    run = Run(arguments.samples, arguments.held_out, arguments.steps)
    prompts = (
        arguments.prompts.read_text("utf-8").splitlines()
        if arguments.prompts
        else concept_prompts(Path(__file__).parent / "data" / "concepts.toml")
    )
    card = load_card(arguments.model)
    draw_samples(card, prompts, run, arguments.work / SAMPLES)
    latents, pictures = load_samples(arguments.work)
    factor = pictures.shape[1] // latents.shape[2]
    config = TinyDecoderConfig(latent_channels=latents.shape[1], last_factor=factor // 4)
    network = train(config, run, arguments.work)
    held_out = slice(-run.held_out, None)
    found = measure(network, latents[held_out], pictures[held_out])
    logger.info("%s", found)
    write(network, found, run, arguments.out)


if __name__ == "__main__":
    main()
