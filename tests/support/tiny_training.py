"""A training run of seconds, and what its stages leave."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from training import autoencoder, denoiser, text, tokenizer
from training.config import RunConfig
from training.data.captions import all_captions
from training.data.dataset import Row, save_dataset
from worker.models.unet import UNetNAS

OPTIMISER = {"learning_rate": 1e-3, "warmup_steps": 1, "decay_share": 0.0}
STAGE = {"optimiser": OPTIMISER, "batch": 2}
ROWS = [
    Row(index, code, label, style, "food-drink", core, [label], "train")
    for index, (code, label, style, core) in enumerate(
        [
            ("1", "red apple", "noto", True),
            ("2", "pear", "twemoji", False),
            ("3", "lemon", "fluent", True),
        ]
    )
]


def tiny_run(*phases: dict[str, Any], **changed: Any) -> RunConfig:
    """Return a run of two-channel latents, whose denoiser has these phases."""
    return RunConfig.model_validate(
        {
            "name": "tiny",
            "title": "Tiny",
            "threads": 1,
            "tokenizer": {"vocabulary": 700, "max_tokens": 24},
            "autoencoder": {
                "model": {
                    "block_out_channels": [4, 4, 4, 4],
                    "latent_channels": 2,
                    "layers_per_block": 1,
                    "norm_num_groups": 2,
                },
                **STAGE,
                "steps": 2,
            },
            "decoder": {**STAGE, "steps": 1},
            "text": {**STAGE, "steps": 1},
            "denoiser": {
                "text_encoder": {
                    "hidden_size": 8,
                    "intermediate_size": 16,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                },
                "denoiser": tiny_unet(8),
                "phases": [{**STAGE, **phase} for phase in phases],
            },
            "sample_prompts": ["a pear", "a lemon"],
            **changed,
        }
    )


def as_toml(run: RunConfig) -> str:
    """Write a run as its file; tables and lists are JSON's but for the sign between them."""
    told = run.model_dump(mode="json", exclude_unset=True)
    return "".join(
        f"{name} = {json.dumps(value)}\n".replace('": ', '" = ') for name, value in told.items()
    )


def tiny_unet(width: int) -> dict[str, Any]:
    """Return a U-Net's settings but for those that its latents and its text decide."""
    return {
        "add_upsample_mid_block": False,
        "mix_block_in_forward": True,
        "down_blocks_in_channels": [width, width],
        "down_blocks_out_channels": [width, width],
        "down_blocks_num_resnets": [1, 1],
        "down_blocks_num_attentions": [0, 1],
        "add_downsample": [True, False],
        "prev_output_channels": [width, width],
        "up_blocks_num_resnets": [2, 2],
        "up_blocks_num_attentions": [1, 0],
        "add_upsample": [True, False],
        "temb_dim": width,
        "resnet_eps": 1e-5,
        "resnet_act_fn": "silu",
        "num_attention_heads": 2,
        "mid_num_resnets": 0,
        "mid_num_attentions": 0,
        "norm_num_groups": 4,
    }


def leave_data(run: RunConfig, rows: Sequence[Row], folder: Path) -> None:
    """Write pictures of noise with captions, and a tokenizer of them."""
    shape = (len(rows), 64, 64, 3)
    save_dataset(
        folder / "data", np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8), rows
    )
    texts = [text for row in rows for text in all_captions(row.names, row.style)]
    tokenizer.train(texts, run.tokenizer, folder / "tokenizer")


def learn(run: RunConfig, rows: Sequence[Row], folder: Path) -> Tensor:
    """Train all but the tiny decoder on these rows, and return their latents: random ones."""
    leave_data(run, rows, folder)
    autoencoder.train(run, folder)
    latents = torch.randn(len(rows), 2, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.save(latents, folder / autoencoder.LATENTS)
    text.train(run, folder)
    denoiser.train(run, folder)
    return latents


def beside(work: Path, folder: Path, *names: str) -> Path:
    """Make a folder that shares files of another run's."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).symlink_to(work / name)
    return folder


@contextmanager
def one_thread() -> Iterator[None]:
    """Nothing so small is worth two threads, which wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass
class Calls:
    """What denoisers were called with."""

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    timesteps: list[int] = field(default_factory=list)


@contextmanager
def denoiser_calls() -> Iterator[tuple[Calls, Calls]]:
    """Collect what any denoiser is called with in training, and what to draw."""
    training, drawing = Calls(), Calls()

    def collect(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, UNetNAS):
            calls = training if module.training else drawing
            calls.shapes.append(tuple(inputs[0].shape))
            calls.timesteps.extend(inputs[1].flatten().tolist())

    hook = register_module_forward_pre_hook(collect)
    try:
        yield training, drawing
    finally:
        hook.remove()
