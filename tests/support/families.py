"""The four published model families at test size, in the layout of their repositories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPTextConfig, CLIPTextModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from support.tiny_model import write_json, write_tokenizer
from worker.models.unet import UNetNAS

Family = Literal["sd-1.5", "sd-2.1", "decidiffusion-1.0", "decidiffusion-2.0"]
FAMILIES: tuple[Family, ...] = ("sd-1.5", "sd-2.1", "decidiffusion-1.0", "decidiffusion-2.0")
MAX_TOKENS = 77
SIDE = 64
"""Pixels of an image: 8 x 8 latents."""

FLEXIBLE: dict[str, Any] = {
    "sample_size": 8,
    "cross_attention_dim": 32,
    "add_upsample_mid_block": True,
    "mix_block_in_forward": True,
    "down_blocks_in_channels": [32, 32, 64],
    "down_blocks_out_channels": [32, 64, 96],
    "down_blocks_num_resnets": [1, 2, 1],
    "down_blocks_num_attentions": [0, 1, 2],
    "add_downsample": [True, True, True],
    "prev_output_channels": [96, 96, 64],
    "up_blocks_num_resnets": [2, 3, 2],
    "up_blocks_num_attentions": [3, 2, 0],
    "add_upsample": [True, True, False],
    "temb_dim": 128,
    "resnet_eps": 1e-5,
    "resnet_act_fn": "silu",
    "num_attention_heads": 8,
    "mid_num_resnets": 0,
    "mid_num_attentions": 0,
}
FLEXIBLE_2 = FLEXIBLE | {
    "mix_block_in_forward": False,
    "down_blocks_num_resnets": [1, 1, 1],
    "up_blocks_num_resnets": [2, 2, 2],
    "mid_num_resnets": 1,
    "mid_num_attentions": 1,
}
STABLE: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (32, 64, 64, 64),
    "layers_per_block": 2,
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
    # Of two values a norm keeps nothing but rounding errors, where they are nearly equal.
    "norm_num_groups": 8,
}
SCHEDULERS: dict[Family, dict[str, Any]] = {
    "sd-1.5": {
        "_class_name": "PNDMScheduler",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
        "clip_sample": False,
    },
    "sd-2.1": {
        "_class_name": "DDIMScheduler",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "prediction_type": "v_prediction",
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "trained_betas": None,
    },
    "decidiffusion-1.0": {
        "_class_name": "DPMSolverMultistepScheduler",
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "v_prediction",
        "num_train_timesteps": 1000,
        "solver_order": 2,
        "algorithm_type": "dpmsolver++",
        "solver_type": "heun",
        "lambda_min_clipped": -7.5,
        "steps_offset": 1,
    },
    "decidiffusion-2.0": {"_class_name": "SqueezedDPMScheduler", "num_train_timesteps": 1000},
}


def write_family(
    family: Family, folder: Path, *, as_bin: bool = False, with_safety_checker: bool = False
) -> Path:
    """Write a small model of random weights as its family's repository would hold it.

    Args:
        family: decides blocks, text encoder and scheduler.
        folder: is made; its name becomes the model's.
        as_bin: the denoiser's weights as a PyTorch file, as in 2022.
        with_safety_checker: one that flags nothing, at test size.
    """
    torch.manual_seed(1)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULERS[family])
    write_tokenizer(folder / "tokenizer", MAX_TOKENS)
    _write_text_encoder(folder / "text_encoder", width=48 if family == "sd-2.1" else 32)
    _write_vae(folder / "vae")
    if family.startswith("sd"):
        _stable(family).save_pretrained(folder / "unet", safe_serialization=not as_bin)
    else:
        # Published beside the one that is used, and never to be loaded.
        write_json(folder / "unet" / "config.json", {"_class_name": "UNet2DConditionModel"})
        config = FLEXIBLE if family == "decidiffusion-1.0" else FLEXIBLE_2
        flexible = folder / "flexible_unet"
        write_json(flexible / "config.json", {"configurations": config})
        state = UNetNAS(config).state_dict()
        if as_bin:
            torch.save(state, flexible / "diffusion_pytorch_model.bin")
        else:
            save_file(state, flexible / "diffusion_pytorch_model.safetensors")
    if with_safety_checker:
        write_safety_checker(folder)
    return folder


def _stable(family: Family) -> UNet2DConditionModel:
    if family == "sd-1.5":
        return UNet2DConditionModel(**STABLE)
    return UNet2DConditionModel(
        **STABLE
        | {
            "attention_head_dim": (2, 4, 4, 4),
            "use_linear_projection": True,
            "cross_attention_dim": 48,
        }
    )


def _write_text_encoder(folder: Path, *, width: int) -> None:
    config = CLIPTextConfig(
        vocab_size=190,
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        hidden_act="gelu" if width == 48 else "quick_gelu",
        bos_token_id=188,
        eos_token_id=189,
        pad_token_id=189,
    )
    CLIPTextModel(config).save_pretrained(folder)


def _write_vae(folder: Path) -> None:
    AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=(8, 8, 16, 16),
        latent_channels=4,
        norm_num_groups=4,
    ).save_pretrained(folder)


def write_safety_checker(folder: Path, *, flags_everything: bool = False) -> None:
    """Write ``safety_checker/`` and ``feature_extractor/`` at test size."""
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
        "projection_dim": 16,
    }
    config = CLIPConfig(vision_config=vision, projection_dim=16)
    network = StableDiffusionSafetyChecker(config)
    threshold = -2.0 if flags_everything else 2.0
    network.concept_embeds_weights.data.fill_(threshold)
    network.special_care_embeds_weights.data.fill_(threshold)
    network.save_pretrained(folder / "safety_checker")
    CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder / "feature_extractor")


def rewrite_json(path: Path, **changes: Any) -> None:
    """Change top-level keys of a JSON file."""
    write_json(path, json.loads(path.read_text("utf-8")) | changes)
