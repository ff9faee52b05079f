"""A model's networks, from its diffusers folder, for whoever runs, measures or exports them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.utils import logging as diffusers_logging
from torch import nn

from shared.errors import ConfigurationError
from shared.models.card import FLEXIBLE_UNET, TINY_VAE, ModelCard, read_json
from worker.models.text_encoder import (
    POSITION_IDS,
    TextEncoder,
    TextEncoderConfig,
    modern_text_name,
)
from worker.models.tiny_vae import TinyDecoder, TinyDecoderConfig
from worker.models.unet import UNetNAS
from worker.models.vae import (
    ENCODER_TENSORS,
    VAEDecoder,
    VAEDecoderConfig,
    modern_attention_name,
)
from worker.models.weights import (
    TEXT_ENCODER_STEMS,
    convolution_layout,
    find_weights,
    load_strictly,
)

N = TypeVar("N", bound=nn.Module)

RANDOM_WEIGHTS_SEED = 0


@dataclass(frozen=True, slots=True)
class Networks:
    """The three that draw."""

    text_encoder: TextEncoder
    """Token ids (B, T), int64, to text tokens (B, T, D)."""
    denoiser: nn.Module
    """Latents (B, C, H, W), timesteps (B,), text tokens (B, T, D) to (B, C, H, W)."""
    decoder: VAEDecoder
    """Latents (B, C, h, w) to pixels (B, 3, H, W), about -1 to 1."""


def load_networks(
    card: ModelCard, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Networks:
    """Load a model's weights, or make a preset's: random, the same every time.

    Raises:
        ConfigurationError: a part of the model is missing or broken; names it.
    """
    silence_libraries()
    if card.weights == "random":
        networks = _random_networks(card)
        for part in (networks.text_encoder, networks.denoiser, networks.decoder):
            _frozen(part).to(device, dtype, memory_format=convolution_layout(device))  # type: ignore[call-overload]
        return networks
    with torch.device("meta"):
        networks = make_networks(card)
    where: Any = {"device": device, "dtype": dtype}
    load_strictly(
        networks.text_encoder,
        find_weights(card.folder / "text_encoder", TEXT_ENCODER_STEMS),
        left_aside=POSITION_IDS,
        renamed=modern_text_name,
        **where,
    )
    load_strictly(networks.denoiser, find_weights(card.denoiser_folder), **where)
    load_strictly(
        networks.decoder,
        find_weights(card.folder / "vae"),
        left_aside=ENCODER_TENSORS,
        renamed=modern_attention_name,
        **where,
    )
    for part in (networks.text_encoder, networks.denoiser, networks.decoder):
        _frozen(part)
    return networks


def load_tiny_decoder(
    card: ModelCard, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> TinyDecoder | None:
    """Load a model's tiny decoder, where it has one.

    Raises:
        ConfigurationError: it is broken.
    """
    if not card.has_tiny_decoder:
        return None
    folder = card.folder / TINY_VAE
    path = folder / "config.json"
    config = read_json(path)
    with torch.device("meta"):
        network = _made(path, lambda: TinyDecoder(TinyDecoderConfig.from_json(config)))
    load_strictly(network, find_weights(folder), device=device, dtype=dtype)
    return _frozen(network)


def make_networks(card: ModelCard) -> Networks:
    """Make networks with fresh weights on torch's default device."""
    return Networks(make_text_encoder(card), make_denoiser(card), make_decoder(card))


def make_denoiser(card: ModelCard) -> nn.Module:
    """Make the denoiser of ``flexible_unet/``, or else of ``unet/``.

    Raises:
        ConfigurationError: its configuration is missing or wrong.
    """
    path = card.denoiser_folder / "config.json"
    config = read_json(path)
    if path.parent.name == FLEXIBLE_UNET:
        return _made(path, lambda: UNetNAS(config))
    # Not every worker needs diffusers' own class, and it takes a while to import.
    from worker.models.conditional_unet import ConditionalUNet

    def make() -> ConditionalUNet:
        unet: ConditionalUNet = ConditionalUNet.from_config(dict(config))
        return unet

    return _made(path, make)


def make_decoder(card: ModelCard) -> VAEDecoder:
    """Make the decoder half of the autoencoder.

    Raises:
        ConfigurationError: its configuration is missing or wrong.
    """
    path = card.folder / "vae" / "config.json"
    config = read_json(path)
    return _made(path, lambda: VAEDecoder(VAEDecoderConfig.from_json(config)))


def make_text_encoder(card: ModelCard) -> TextEncoder:
    """Make the text encoder.

    Raises:
        ConfigurationError: its configuration is missing or wrong.
    """
    path = card.folder / "text_encoder" / "config.json"
    config = read_json(path)
    return _made(path, lambda: TextEncoder(TextEncoderConfig.from_json(config)))


def silence_libraries() -> None:
    """Keep progress bars and advice for notebooks out of a worker's log."""
    diffusers_logging.set_verbosity_error()


def _random_networks(card: ModelCard) -> Networks:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_WEIGHTS_SEED)
        return make_networks(card)


def _made(path: Path, make: Callable[[], N]) -> N:
    try:
        return make()
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ConfigurationError(f"{path}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    """Tell what a library complains about; Pydantic's first line only counts complaints."""
    if hasattr(error, "errors"):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where}: {first['msg']}" if where else str(first["msg"])
    if isinstance(error, KeyError):
        return f"{error} is missing or unknown"
    lines = (str(error).strip() or repr(error)).splitlines()
    told = 2 if lines[0].endswith(":") else 1  # which alone tells nothing yet
    return " ".join(line.strip() for line in lines[:told])


def _frozen(network: N) -> N:
    return network.requires_grad_(False).eval()
