"""The questions that every network of a search is asked: the same noise on the same pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from training import tokenizer
from training.data.captions import captions
from training.data.dataset import Dataset
from training.noise_levels import NoiseLevels

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Velocities (B, C, h, w) from noisy latents, timesteps (B,) and texts."""
_BATCH = 64


@dataclass(frozen=True)
class Marks:
    """Mean squared errors of the velocity."""

    trained: float
    """On pictures that training sees."""
    held_out: float
    """On concepts in a style that training does not see them in."""


@dataclass(frozen=True)
class Exam:
    """Questions (N, ...) at the solver's own noise levels, and their answers."""

    noisy: Tensor
    velocity: Tensor
    timesteps: Tensor
    texts: Tensor
    """Token ids (N, T), or what a text encoder made of them, (N, T, D)."""
    is_held_out: Tensor

    @torch.inference_mode()
    def encoded(self, text_encoder: CLIPTextModel) -> Exam:
        """Return the same questions with their texts encoded."""
        parts = torch.split(self.texts, _BATCH)
        contexts = [text_encoder(input_ids=part).last_hidden_state for part in parts]
        return replace(self, texts=torch.cat(contexts))

    @torch.inference_mode()
    def marks(self, predict: Predict) -> Marks:
        """Ask a network everything."""
        parts = zip(
            *(
                torch.split(asked, _BATCH)
                for asked in (self.noisy, self.timesteps, self.texts, self.velocity)
            ),
            strict=True,
        )
        errors = torch.cat(
            [
                (predict(noisy, timesteps, texts).float() - velocity).square().mean(dim=(1, 2, 3))
                for noisy, timesteps, texts, velocity in parts
            ]
        )
        return Marks(
            trained=float(errors[~self.is_held_out].mean()),
            held_out=float(errors[self.is_held_out].mean()),
        )


def make_exam(
    dataset: Dataset, latents: Tensor, words: CLIPTokenizer, levels: NoiseLevels, questions: int
) -> Exam:
    """Ask for every held-out pair, and for pictures of training evenly spaced, in turn.

    Each question has one of the solver's timesteps, in turn, and noise of its own.

    Args:
        dataset: pictures and captions.
        latents: of all pictures, (N, C, h, w), of unit variance.
        words: of the captions.
        levels: whose `solver_steps` are asked at.
        questions: how many of each kind.

    Raises:
        ValueError: the dataset has no held-out pair.
    """
    trained = [row.index for row in dataset.rows if row.split == "train"]
    held_out = [row.index for row in dataset.rows if row.split == "held-out pair"]
    if not held_out:
        raise ValueError("the data has no held-out pairs to be asked for")
    chosen = [
        rows[place * len(rows) // questions if len(rows) > questions else place % len(rows)]
        for rows in (trained, held_out)
        for place in range(questions)
    ]
    generator = torch.Generator().manual_seed(0)
    clean = latents[chosen]
    noise = torch.randn(clean.shape, generator=generator)
    timesteps = levels.own[torch.arange(len(chosen)) % len(levels.own)]
    noisy, velocity = levels.mix(clean, noise, timesteps)
    texts = [
        captions(row.names, row.style)["styled"][0]
        for row in (dataset.rows[index] for index in chosen)
    ]
    return Exam(
        noisy=noisy,
        velocity=velocity,
        timesteps=timesteps,
        texts=tokenizer.encode(words, texts),
        is_held_out=torch.arange(len(chosen)) >= questions,
    )
