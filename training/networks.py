"""The text encoder and the denoiser, untrained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.config import DenoiserConfig
from worker.models.unet import UNetNAS


class TextToLatent(nn.Module):
    """Text encoder and denoiser as one trainable module."""

    def __init__(self, text_encoder: CLIPTextModel, denoiser: UNetNAS) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.denoiser = denoiser
        # Convolutions on a processor are fastest with channels last in memory.
        for weight in denoiser.parameters():
            if weight.dim() == 4:  # noqa: PLR2004
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict the velocity of latents (B, C, h, w) at timesteps (B,) from token ids (B, T)."""
        context = self.text_encoder(input_ids=tokens).last_hidden_state
        prediction: Tensor = self.denoiser(noisy, timesteps, context)
        return prediction


def create(
    config: DenoiserConfig, words: CLIPTokenizer, latent_shape: Sequence[int]
) -> TextToLatent:
    """Return untrained networks for latents of (C, h, w) and a tokenizer's vocabulary."""
    text_encoder = create_text_encoder(config, words)
    settings = {
        "sample_size": latent_shape[-1],
        "in_channels": latent_shape[0],
        "out_channels": latent_shape[0],
        "cross_attention_dim": text_encoder.config.hidden_size,
    }
    return TextToLatent(text_encoder, UNetNAS({**settings, **config.denoiser}))


def create_text_encoder(config: DenoiserConfig, words: CLIPTokenizer) -> CLIPTextModel:
    """Return an untrained text encoder of a tokenizer's vocabulary."""
    settings = CLIPTextConfig(
        vocab_size=len(words),
        max_position_embeddings=words.model_max_length,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        projection_dim=config.text_encoder["hidden_size"],
        **config.text_encoder,
    )
    return CLIPTextModel(settings)
