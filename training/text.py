"""The text encoder's first lesson: guess a picture's latents from its caption alone.

Cross-attention learns to read a text slowly while the text says nothing yet. Here the last tokens,
which have seen the whole text, learn to say what each region of the picture looks like, one token a
region: the denoiser has something to read from its first step.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel

from training import loop, tokenizer
from training.config import RunConfig
from training.lessons import open_lessons
from training.networks import create_text_encoder


class TextToRegions(nn.Module):
    """A linear guess of each region's latents from one of the text's last tokens."""

    def __init__(self, text_encoder: CLIPTextModel, regions: int, numbers: int) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.regions = regions
        self.head = nn.Linear(text_encoder.config.hidden_size, numbers)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map token ids (B, T) to regions (B, R, numbers)."""
        hidden = self.text_encoder(input_ids=tokens).last_hidden_state
        guess: Tensor = self.head(hidden[:, -self.regions :])
        return guess


def regions_of(latents: Tensor) -> Tensor:
    """Cut latents (B, C, h, w) into regions of 2 x 2: (B, h * w / 4, 4 * C)."""
    return functional.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)


def train(run: RunConfig, folder: Path) -> None:
    """Train on the latents of the autoencoder in `folder`; leave the encoder in a checkpoint."""
    config = run.text
    lessons = open_lessons(run, config, folder)
    torch.manual_seed(run.seed)
    encoder = create_text_encoder(run.denoiser, tokenizer.load(folder / "tokenizer"))
    shape = (run.autoencoder.model["latent_channels"], *(run.latent_size,) * 2)
    model = TextToRegions(encoder, *regions_of(torch.zeros(1, *shape)).shape[1:])

    def batch(step: int, part: slice) -> tuple[Tensor, Tensor]:
        generator = loop.step_generator(run.seed, step)
        lesson = lessons(step, part, generator)
        return lesson.tokens(generator), regions_of(lesson.latents)

    def losses(network: nn.Module, tokens: Tensor, target: Tensor) -> loop.Losses:
        return {"loss": functional.mse_loss(network(tokens), target)}

    modules = {"text_encoder": encoder, "head": model.head}
    stage = loop.Stage("text", model, modules, batch, losses, config)
    loop.run(stage, folder, run.checkpoint_seconds, autocast=run.autocast)
