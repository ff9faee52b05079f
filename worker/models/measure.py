"""How large a model's networks are and how much they compute, found without weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from shared.models.card import ModelCard
from worker.models.networks import make_networks

GIGA = 1e9
FLOPS_A_MAC = 2
ATTENTION_OPERATORS = ("bmm", "baddbmm")
"""Multiply activations by activations; on the meta device torch fuses no attention."""

ComponentName = Literal["text_encoder", "denoiser", "vae_decoder"]


@dataclass(frozen=True, slots=True)
class Work:
    """What one run of a network takes. A multiply-accumulate (MAC) is two FLOPs."""

    parameters: int
    layer_macs: int
    """Of convolutions and linear layers."""
    attention_macs: int
    """Of queries by keys and of scores by values, which have no weights."""


@dataclass(frozen=True, slots=True)
class ComponentWork:
    """What one component of a model takes for one sample; 1 GMAC is 10^9 MACs."""

    component: ComponentName
    parameters: int
    """Of what is loaded: of the autoencoder its decoder; without buffers."""
    gmacs: float
    """Of convolutions and linear layers, as models are compared: Stable Diffusion 1.5's
    denoiser has 338.6 at 64x64 latents."""
    attention_gmacs: float
    """On top of that, of the products inside attention, which grow with positions squared."""


def measure(
    card: ModelCard, *, width: int | None = None, height: int | None = None
) -> list[ComponentWork]:
    """Count parameters and multiply-accumulates of a model's networks.

    The networks are run on the meta device: no weights are read and nothing is computed.
    A sample is one row: of a guided step, the denoiser runs two.

    Args:
        card: the model.
        width: of the image in pixels; default: the model's own.
        height: the same.

    Raises:
        ConfigurationError: a configuration is missing or wrong.
    """
    with torch.device("meta"):
        networks = make_networks(card)
        tokens = torch.zeros(1, card.max_prompt_tokens, dtype=torch.int64)
        text = torch.zeros(1, card.max_prompt_tokens, networks.text_encoder.config.hidden_size)
        vae = networks.decoder.config
        rows, columns = (height or card.height) // vae.factor, (width or card.width) // vae.factor
        latents = torch.zeros(1, vae.latent_channels, rows, columns)
        timestep = torch.zeros(1, dtype=torch.int64)
    runs: dict[ComponentName, Work] = {
        "text_encoder": count(networks.text_encoder, tokens),
        "denoiser": count(networks.denoiser, latents, timestep, text),
        "vae_decoder": count(networks.decoder, latents),
    }
    return [
        ComponentWork(name, work.parameters, work.layer_macs / GIGA, work.attention_macs / GIGA)
        for name, work in runs.items()
    ]


def count(network: nn.Module | Any, *inputs: Any) -> Work:
    """Run a network once and count. It and its inputs are on the meta device."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(*inputs)
    flops = {
        operator.__name__: int(number)
        for operator, number in counter.get_flop_counts()["Global"].items()
    }
    attention = sum(flops.get(name, 0) for name in ATTENTION_OPERATORS)
    return Work(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        layer_macs=(sum(flops.values()) - attention) // FLOPS_A_MAC,
        attention_macs=attention // FLOPS_A_MAC,
    )
