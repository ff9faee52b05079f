"""Draw pictures with a model, as the fleet does, and put them on a contact sheet."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from training import autoencoder, tokenizer
from training.config import SampleConfig
from training.networks import TextToLatent
from training.noise_levels import solver
from worker.diffusion.noise import initial_noise
from worker.diffusion.sampler import denoise
from worker.models.unet import UNetNAS

#: What a sheet shows if nobody says otherwise: the things people ask for first.
PROMPTS = (
    *("a red apple", "a dog face", "a cat face", "a pig face", "a panda", "a frog", "a fox"),
    *("a penguin", "a rocket", "a slice of pizza", "a fire", "a sunflower", "a soccer ball"),
    *("a rainbow", "a hamburger", "a banana", "a strawberry", "a grinning face", "a tree"),
    *("a rose", "a car", "a sailboat", "a house", "a star", "a red heart", "a birthday cake"),
    *("a cup of coffee", "a guitar", "a snowman", "a robot", "a ghost", "a crown"),
)
STYLES = ("", ", noto style", ", flat twemoji style", ", glossy 3d style")
_CELL, _LABEL = 64, 12


@dataclass(frozen=True)
class Model:
    """Everything that draws: tokenizer, networks and autoencoder."""

    words: CLIPTokenizer
    networks: TextToLatent
    vae: Any


def load(folder: Path) -> Model:
    """Read a finished model's folder in float32."""
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    denoiser = UNetNAS(json.loads((folder / "flexible_unet" / "config.json").read_text("utf-8")))
    weights = load_file(folder / "flexible_unet" / "diffusion_pytorch_model.safetensors")
    denoiser.load_state_dict({name: weight.float() for name, weight in weights.items()})
    return Model(
        tokenizer.load(folder / "tokenizer"),
        TextToLatent(text_encoder, denoiser).eval(),
        autoencoder.load(folder / "vae"),
    )


@torch.no_grad()
def draw_latents(
    model: Model, prompts: Sequence[str], seeds: Sequence[int], config: SampleConfig
) -> Tensor:
    """Return unit-variance latents (N, C, h, w), one for each prompt and seed."""
    networks = model.networks
    settings = networks.denoiser.config
    shape = (settings.in_channels, settings.sample_size, settings.sample_size)
    encode = networks.text_encoder
    device = encode.device
    context, empty = (
        encode(input_ids=tokenizer.encode(model.words, texts).to(device)).last_hidden_state
        for texts in (prompts, [""] * len(prompts))
    )
    return denoise(
        networks.denoiser,
        solver(config),
        torch.stack([initial_noise(seed, shape) for seed in seeds]).to(device),
        torch.cat([empty, context]),
        guidance_scale=torch.full((len(prompts),), config.guidance_scale),
        guidance_rescale=torch.full((len(prompts),), config.guidance_rescale),
    )


def draw(
    model: Model, prompts: Sequence[str], seeds: Sequence[int], config: SampleConfig
) -> npt.NDArray[np.uint8]:
    """Return pictures (N, H, W, 3), one for each prompt and seed."""
    return autoencoder.decode(model.vae, draw_latents(model, prompts, seeds, config))


def contact_sheet(
    pictures: npt.NDArray[np.uint8], labels: Sequence[str], columns: int
) -> Image.Image:
    """Return one image of all pictures in rows, each with its label below."""
    rows = -(-len(pictures) // columns)
    width = max(_CELL * 2, pictures.shape[2])
    height = width + _LABEL
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = index % columns * width, index // columns * height
        sheet.paste(
            Image.fromarray(picture).resize((width, width), Image.Resampling.NEAREST), (x, y)
        )
        pen.text((x + 2, y + width), label[:20], fill="black")
    return sheet


def styled_sheet(
    model: Model, config: SampleConfig, prompts: Sequence[str] = PROMPTS, seed: int = 1
) -> Image.Image:
    """Return a sheet with a column for each prompt's four styles, two prompts a row."""
    texts = [prompt + style for prompt in prompts for style in STYLES]
    pictures = draw(model, texts, [seed + index for index in range(len(texts))], config)
    labels = [prompt for prompt in prompts for _ in STYLES]
    return contact_sheet(pictures, labels, columns=4 * len(STYLES))


def main() -> None:
    """Draw a contact sheet with a finished model."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, default=Path("sheet.png"))
    parser.add_argument("--prompt", action="append", help="may be repeated; default: a fixed list")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--guidance-scale", type=float, default=SampleConfig().guidance_scale)
    parser.add_argument("--guidance-rescale", type=float, default=SampleConfig().guidance_rescale)
    arguments = parser.parse_args()
    config = SampleConfig(
        guidance_scale=arguments.guidance_scale, guidance_rescale=arguments.guidance_rescale
    )
    styled_sheet(load(arguments.model), config, arguments.prompt or PROMPTS, arguments.seed).save(
        arguments.out
    )


if __name__ == "__main__":
    main()
