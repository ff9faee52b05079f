"""A model as diffusers' own pipeline: its classes and transformers', none of our kernels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from shared.models.card import ModelCard, read_json
from shared.models.catalog import load_card
from worker.diffusion.schedule import build_scheduler, with_timesteps
from worker.models.networks import Networks, load_networks
from worker.models.unet import UNetNAS


class PipelineUNet(nn.Module):
    """A U-Net-NAS, for which diffusers has no class, as its pipeline calls a U-Net."""

    def __init__(self, network: UNetNAS) -> None:
        """Serve a network of diffusers' parts as it is."""
        super().__init__()
        self.network = network
        self.config = SimpleNamespace(
            in_channels=network.config.in_channels,
            sample_size=network.config.sample_size,
            time_cond_proj_dim=None,
        )

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""
        return self.network.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return self.network.conv_in.weight.dtype

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        *,
        timestep_cond: None = None,
        cross_attention_kwargs: None = None,
        added_cond_kwargs: None = None,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        """Run the network once.

        Args:
            sample: noisy latents, (B, C, H, W).
            timestep: a scalar, in training steps.
            encoder_hidden_states: text tokens, (B, T, D).
            timestep_cond: this and the next two are what other U-Nets take.
            cross_attention_kwargs: see there.
            added_cond_kwargs: see there.
            return_dict: no matter; a tuple is what comes back.

        Returns:
            The prediction, (B, C, H, W).
        """
        return (self.network(sample, timestep, encoder_hidden_states),)


def load_diffusers(card: ModelCard) -> StableDiffusionPipeline:
    """Make diffusers' pipeline of a model: in float32, without a safety checker.

    Its scheduler is the one that the card's sampler names, made from the model's own
    configuration.

    Raises:
        ConfigurationError: a part of the model is missing or broken.
        ValueError: its weights do not fit diffusers' classes, or its grid has no room for the
            sampler's steps.
    """
    ours = load_networks(card)
    # Its annotations know of no pipeline without a safety checker.
    make: Any = StableDiffusionPipeline
    pipeline: StableDiffusionPipeline = make(
        vae=_autoencoder(card, ours),
        text_encoder=_text_encoder(card, ours),
        tokenizer=load_tokenizer(card),
        unet=_unet(card, ours),
        scheduler=_scheduler(card),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    return pipeline


def load_tokenizer(card: ModelCard) -> CLIPTokenizer:
    """Return transformers' tokenizer of a model, which fills prompts up to the model's length."""
    owner = load_card(card.vocabulary_of) if card.vocabulary_of else card
    # A vocabulary that is borrowed has its owner's length.
    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(
        owner.folder / "tokenizer", model_max_length=card.max_prompt_tokens
    )
    return tokenizer


def _unet(card: ModelCard, ours: Networks) -> Any:
    if isinstance(ours.denoiser, UNetNAS):
        return PipelineUNet(ours.denoiser)
    unet = UNet2DConditionModel.from_config(dict(read_json(card.denoiser_folder / "config.json")))
    return _filled(unet, ours.denoiser.state_dict())


def _text_encoder(card: ModelCard, ours: Networks) -> Any:
    document = read_json(card.folder / "text_encoder" / "config.json")
    config = CLIPTextConfig(**{k: v for k, v in document.items() if not k.startswith("_")})
    return _filled(CLIPTextModel(config), ours.text_encoder.state_dict())


def _autoencoder(card: ModelCard, ours: Networks) -> Any:
    vae = AutoencoderKL.from_config(dict(read_json(card.folder / "vae" / "config.json")))
    return _filled(vae, ours.decoder.state_dict(), left_fresh=("encoder.", "quant_conv."))


def _scheduler(card: ModelCard) -> Any:
    config = read_json(card.folder / "scheduler" / "scheduler_config.json")
    sampler = card.sampler
    return with_timesteps(build_scheduler(config, sampler.scheduler), sampler.evaluations)


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
