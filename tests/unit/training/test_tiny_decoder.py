"""Teaching a tiny decoder: what it learns from, and what is written down."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from shared.models.card import TINY_VAE, read_json
from training.tiny_decoder import SAMPLES, Run, concept_prompts, measure, train, variations, write
from worker.models.tiny_vae import TinyDecoder, TinyDecoderConfig
from worker.models.weights import WEIGHTS

CONFIG = TinyDecoderConfig(latent_channels=3, widths=(8, 8), blocks=(1, 1), last_factor=1)
CONCEPTS = """
include = ["bus"]
[core]
"apple" = ["red apple"]
"""


def test_variations_are_made_of_what_was_drawn() -> None:
    latents = torch.arange(3 * 2 * 4 * 4.0).view(3, 2, 4, 4)

    turned, beside, below = variations(latents)

    assert torch.equal(turned[0, 0, 0], latents[0, 0, 0].flip(0))
    assert torch.equal(beside[1, ..., :2], latents[1, ..., :2])
    assert torch.equal(beside[1, ..., 2:], latents[0, ..., 2:])
    assert torch.equal(below[2, :, :2], latents[2, :, :2])
    assert torch.equal(below[2, :, 2:], latents[0, :, 2:])


def test_concepts_are_asked_for_in_every_style(tmp_path: Path) -> None:
    (tmp_path / "concepts.toml").write_text(CONCEPTS, "utf-8")

    prompts = concept_prompts(tmp_path / "concepts.toml")

    assert prompts[0] == "an apple"
    assert "a bus, noto style" in prompts
    assert len(prompts) == 8


def test_it_learns_and_is_written_in_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    latents = torch.randn(24, 3, 4, 4)
    shades = ((latents / 4 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    pictures = shades.repeat_interleave(2, 2).repeat_interleave(2, 3).permute(0, 2, 3, 1)
    save_file({"latents": latents, "pictures": pictures.contiguous()}, tmp_path / SAMPLES)
    run = Run(samples=24, held_out=8, steps=150, batch=8)
    untaught = measure(TinyDecoder(CONFIG), latents[-8:], pictures[-8:])

    network = train(CONFIG, run, tmp_path)
    found = measure(network, latents[-8:], pictures[-8:])
    write(network, found, run, tmp_path / "model")

    assert found["mean_difference_shades"] < 0.75 * untaught["mean_difference_shades"]
    document = read_json(tmp_path / "model" / TINY_VAE / "config.json")
    assert document["held_out"] == found
    assert TinyDecoderConfig.from_json(document) == CONFIG
    weights = load_file(tmp_path / "model" / TINY_VAE / WEIGHTS)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
