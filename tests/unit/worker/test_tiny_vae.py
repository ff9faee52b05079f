"""A model's tiny decoder: what it reads, and that its presence changes no other image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from shared.domain.prompts import ImageSettings
from shared.errors import ConfigurationError
from shared.models.card import TINY_VAE, read_card
from shared.models.catalog import load_card
from worker.backends.pixels import to_pixels
from worker.backends.torch_backend import TorchBackend
from worker.devices import Device
from worker.loading import load_pipeline
from worker.models.networks import load_tiny_decoder
from worker.models.tiny_vae import TinyDecoder, TinyDecoderConfig
from worker.models.weights import WEIGHTS, weights_identity

CONFIG = TinyDecoderConfig(latent_channels=12, widths=(8, 8, 4), blocks=(1, 1, 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the small model, with a tiny decoder of random weights."""
    folder = tmp_path / "model"
    shutil.copytree(load_card("emoji-64").folder, folder)
    shutil.rmtree(folder / TINY_VAE, ignore_errors=True)
    (folder / TINY_VAE).mkdir()
    (folder / TINY_VAE / "config.json").write_text(CONFIG.model_dump_json(), "utf-8")
    torch.manual_seed(0)
    save_file(TinyDecoder(CONFIG).state_dict(), folder / TINY_VAE / WEIGHTS)
    return folder


def test_a_backend_decodes_with_it_only_when_asked(folder: Path) -> None:
    card = read_card(folder)
    backend = TorchBackend(card, Device.parse("cpu"), threads=1)
    tiny = load_tiny_decoder(card)
    latents = torch.randn(2, 12, 4, 6)

    pixels = backend.decode(latents, tiny=True)

    assert pixels.shape == (2, 32, 48, 3)
    assert tiny is not None
    assert torch.equal(pixels, to_pixels(tiny(latents)))
    shutil.rmtree(folder / TINY_VAE)
    without = TorchBackend(card, Device.parse("cpu"), threads=1)
    assert torch.equal(backend.decode(latents), without.decode(latents))
    assert torch.equal(without.decode(latents, tiny=True), without.decode(latents))


def test_a_model_that_is_given_one_is_the_same_model(folder: Path) -> None:
    identity = weights_identity(read_card(folder))

    shutil.rmtree(folder / TINY_VAE)

    assert weights_identity(read_card(folder)) == identity
    assert load_tiny_decoder(read_card(folder)) is None


def test_one_with_wrong_numbers_of_blocks_is_refused(folder: Path) -> None:
    path = folder / TINY_VAE / "config.json"
    path.write_text(json.dumps({"latent_channels": 12, "blocks": [1]}), "utf-8")

    with pytest.raises(ConfigurationError, match="needs as many blocks as widths"):
        load_tiny_decoder(read_card(folder))


def test_the_small_models_own_draws_nearly_what_its_full_decoder_does() -> None:
    card = load_card("emoji-64")
    pipeline = load_pipeline(card, Device.parse("cpu"), threads=1)
    settings = {"width": 64, "height": 64, **card.sampler.model_dump()}
    things = ["a red apple", "a dog face", "a rocket", "a house"]
    jobs = [ImageSettings(prompt=thing, seed=9, **settings) for thing in things]
    latents = pipeline.sample(jobs)

    full, tiny = (pipeline.backend.decode(latents, tiny=kind).float() for kind in (False, True))

    assert 0 < (full - tiny).abs().mean() < 12
