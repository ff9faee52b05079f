"""A model as diffusers and transformers run it on torch: their classes, none of our kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from shared.models.card import ModelCard, read_json
from worker.backends.pixels import to_pixels
from worker.bench.speed.contestants import NetworksContestant, Setup
from worker.bench.speed.trial import step_ns
from worker.models.networks import Networks as OurNetworks
from worker.models.networks import load_networks
from worker.models.rows import spread
from worker.models.vae import VAEDecoderConfig

LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


class DiffusersNetworks:
    """UNet2DConditionModel, AutoencoderKL's decoder, CLIPTextModel."""

    def __init__(self, card: ModelCard) -> None:
        """Load a model's weights into them.

        A U-Net-NAS has no class in diffusers: it stays the plain module of diffusers' parts.
        """
        ours = load_networks(card)
        self._vae = ours.decoder.config
        self._text_encoder = _text_encoder(card, ours)
        self.is_of_parts = not isinstance(ours.denoiser, _unet_class())
        self._denoiser: Callable[..., Any] = ours.denoiser
        if not self.is_of_parts:
            unet = _unet_class().from_config(dict(read_json(card.denoiser_folder / "config.json")))
            self._denoiser = _filled(unet, ours.denoiser.state_dict())
        self._autoencoder = _autoencoder(card, ours)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return (C, H, W) of the latents of an image of this size in pixels."""
        return latent_shape(self._vae, width, height)

    def encode_text(self, token_ids: Tensor) -> Tensor:
        """Encode token ids (B, T), int64, to text tokens (B, T, D)."""
        encoded: Tensor = self._text_encoder(token_ids)[0]
        return encoded

    def denoise(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Run the denoiser once: (B, C, H, W), (B,), (2 B, T, D) to (2 B, C, H, W)."""
        # As diffusers' pipelines do.
        sample, timestep = spread(sample, len(encoder_hidden_states)), timestep[0]
        if self.is_of_parts:
            own: Tensor = self._denoiser(sample, timestep, encoder_hidden_states)
            return own
        prediction: Tensor = self._denoiser(
            sample, timestep, encoder_hidden_states, return_dict=False
        )[0]
        return prediction

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (B, C, H, W) to pixels (B, height, width, 3), uint8."""
        unscaled = latents / self._vae.scaling_factor + (self._vae.shift_factor or 0)
        return to_pixels(self._autoencoder.decode(unscaled, return_dict=False)[0])

    def lay_out(self, layout: torch.memory_format) -> None:
        """Lay convolutions' weights out."""
        networks: tuple[Any, ...] = (self._denoiser, self._autoencoder)
        for network in networks:
            network.to(memory_format=layout)


def open_diffusers(setup: Setup) -> NetworksContestant:
    """Load a model, and take the layout in which a step is faster here."""
    torch.set_num_threads(setup.threads)
    networks = DiffusersNetworks(setup.card)
    layout = _better_layout(networks, setup)
    networks.lay_out(LAYOUTS[layout])
    import diffusers

    parts = "diffusers' parts, " if networks.is_of_parts else ""
    settings = f"{parts}diffusers {diffusers.__version__}, torch {torch.__version__}, {layout}"
    return NetworksContestant(networks, setup, settings)


def latent_shape(vae: VAEDecoderConfig, width: int, height: int) -> tuple[int, int, int]:
    """Return (C, H, W) of the latents of an image of this size in pixels."""
    return vae.latent_channels, height // vae.factor, width // vae.factor


def _better_layout(networks: DiffusersNetworks, setup: Setup) -> str:
    taken = {}
    for name, layout in LAYOUTS.items():
        networks.lay_out(layout)
        taken[name] = step_ns(networks, setup)
    return min(taken, key=taken.__getitem__)


def _unet_class() -> Any:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return UNet2DConditionModel


def _text_encoder(card: ModelCard, ours: OurNetworks) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    document = read_json(card.folder / "text_encoder" / "config.json")
    config = CLIPTextConfig(**{k: v for k, v in document.items() if not k.startswith("_")})
    return _filled(CLIPTextModel(config), ours.text_encoder.state_dict())


def _autoencoder(card: ModelCard, ours: OurNetworks) -> Any:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    vae = AutoencoderKL.from_config(dict(read_json(card.folder / "vae" / "config.json")))
    return _filled(vae, ours.decoder.state_dict(), left_fresh=("encoder.", "quant_conv."))


def _filled(
    network: Any, state: dict[str, Tensor], *, left_fresh: tuple[str, ...] = ()
) -> nn.Module:
    """Fill a module with weights, every one of them but those of parts that never run."""
    found = network.load_state_dict(state, strict=False, assign=True)
    missing = [name for name in found.missing_keys if not name.startswith(left_fresh)]
    if wrong := [*missing, *found.unexpected_keys]:
        raise ValueError(f"weights do not fit {type(network).__name__}: {wrong[0]}")
    filled: nn.Module = network.requires_grad_(False).eval()
    return filled
