"""A model's three networks as graphs: names and shapes of what goes in and comes out.

The denoiser's ``timestep`` is an int64 vector as long as the batch, as Cloud AI 100's
published recipe has it. Sizes of latents and the batch are symbols.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared.models.card import ModelCard
from worker.models.exported import (
    BATCH,
    DENOISER,
    HEIGHT,
    TEXT_ENCODER,
    VAE_DECODER,
    WIDTH,
)
from worker.models.networks import Networks
from worker.models.vae import VAEDecoderConfig

IMAGE_HEIGHT, IMAGE_WIDTH = "image_height", "image_width"
TRAIN_TIMESTEPS = 1000

Dims = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """Sizes that a graph is run at; height and width in latent positions."""

    batch: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Component:
    """One of the networks, from tensors to a tensor."""

    name: str
    inputs: dict[str, Dims]
    output: str
    output_dims: Dims
    make_inputs: Callable[[Case, torch.Generator], tuple[Tensor, ...]]
    """Random inputs, in the order of ``inputs``."""


def components_of(
    card: ModelCard, text_width: int, vocabulary: int, vae: VAEDecoderConfig
) -> list[Component]:
    """Describe a model's graphs."""
    tokens, channels = card.max_prompt_tokens, vae.latent_channels
    latents: Dims = (BATCH, channels, HEIGHT, WIDTH)

    def make_ids(case: Case, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.randint(vocabulary, (case.batch, tokens), generator=generator),)

    def make_latents(case: Case, generator: torch.Generator) -> tuple[Tensor, ...]:
        shape = (case.batch, channels, case.height, case.width)
        return (torch.randn(shape, generator=generator),)

    def make_step(case: Case, generator: torch.Generator) -> tuple[Tensor, ...]:
        timesteps = torch.randint(TRAIN_TIMESTEPS, (case.batch,), generator=generator)
        text = torch.randn((case.batch, tokens, text_width), generator=generator)
        return (*make_latents(case, generator), timesteps, text)

    return [
        Component(
            name=TEXT_ENCODER,
            inputs={"input_ids": (BATCH, tokens)},
            output="last_hidden_state",
            output_dims=(BATCH, tokens, text_width),
            make_inputs=make_ids,
        ),
        Component(
            name=DENOISER,
            inputs={
                "sample": latents,
                "timestep": (BATCH,),
                "encoder_hidden_states": (BATCH, tokens, text_width),
            },
            output="out_sample",
            output_dims=latents,
            make_inputs=make_step,
        ),
        Component(
            name=VAE_DECODER,
            inputs={"latents": latents},
            output="image",
            output_dims=(BATCH, vae.out_channels, IMAGE_HEIGHT, IMAGE_WIDTH),
            make_inputs=make_latents,
        ),
    ]


def by_component(networks: Networks) -> dict[str, nn.Module]:
    """Return the networks by their components' names, each from tensors to a tensor."""
    return {
        TEXT_ENCODER: networks.text_encoder,
        DENOISER: networks.denoiser,
        VAE_DECODER: networks.decoder,
    }
