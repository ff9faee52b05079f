"""A whole model of random weights, small enough to be made and loaded within a test."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from worker.diffusion.schedule import PUBLISHED_DEFAULTS
from worker.models.unet import UNetNAS
from worker.models.weights import WEIGHTS

NAME = "tiny"
CONTEXT_WIDTH = 32
LATENT_CHANNELS = 4
MAX_TOKENS = 16
DENOISER = {
    "sample_size": 8,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "cross_attention_dim": CONTEXT_WIDTH,
    "add_upsample_mid_block": False,
    "mix_block_in_forward": True,
    "down_blocks_in_channels": [32, 32],
    "down_blocks_out_channels": [32, 64],
    "down_blocks_num_resnets": [1, 1],
    "down_blocks_num_attentions": [1, 1],
    "add_downsample": [True, False],
    "prev_output_channels": [64, 64],
    "up_blocks_num_resnets": [2, 2],
    "up_blocks_num_attentions": [1, 1],
    "add_upsample": [True, False],
    "temb_dim": 64,
    "resnet_eps": 1e-5,
    "resnet_act_fn": "silu",
    "num_attention_heads": 2,
    "mid_num_resnets": 0,
    "mid_num_attentions": 0,
}


def write_tiny_model(folder: Path, name: str = NAME, seed: int = 0) -> Path:
    """Write a model, the same every time for a seed, in fp16; returns its folder."""
    torch.manual_seed(seed)
    write_tokenizer(folder / "tokenizer", MAX_TOKENS)
    _write_text_encoder(folder / "text_encoder")
    AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=4,
    ).half().save_pretrained(folder / "vae")
    denoiser = folder / "flexible_unet"
    denoiser.mkdir()
    save_file(UNetNAS(DENOISER).half().state_dict(), denoiser / WEIGHTS)
    write_json(denoiser / "config.json", {"configurations": DENOISER})
    write_json(folder / "scheduler" / "scheduler_config.json", dict(PUBLISHED_DEFAULTS))
    write_json(
        folder / "tenstep.json",
        {
            "name": name,
            "title": "Random weights",
            "licence": "Apache-2.0",
            "width": 64,
            "height": 64,
            "sampler": {
                "steps": 16,
                "squeeze": "10,6",
                "guidance_scale": 4.0,
                "guidance_rescale": 0.7,
            },
            "max_prompt_tokens": MAX_TOKENS,
        },
    )
    return folder


def write_tokenizer(folder: Path, max_tokens: int) -> None:
    """Write a CLIP tokenizer that knows letters and no words."""
    characters = [chr(code) for code in range(33, 127)]
    words = characters + [f"{character}</w>" for character in characters]
    vocabulary = {word: index for index, word in enumerate(words)}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    write_json(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": max_tokens,
            "bos_token": "<|startoftext|>",
            "eos_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
        },
    )


def _write_text_encoder(folder: Path) -> None:
    config = CLIPTextConfig(
        vocab_size=190,
        hidden_size=CONTEXT_WIDTH,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=188,
        eos_token_id=189,
        pad_token_id=189,
    )
    CLIPTextModel(config).half().save_pretrained(folder)


def write_json(path: Path, document: object) -> None:
    """Write a document, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), "utf-8")
