"""The presets that need no download are the size of the models that they stand for."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from shared.models.card import PLAIN, PUBLISHED_SQUEEZED, read_json
from shared.models.catalog import load_card, shipped_folders
from worker.models.measure import ComponentWork, measure
from worker.models.networks import make_denoiser

CLIP_L = 123_060_480
OPENCLIP_H = (
    340_387_917 - 77
)  # published with the numbers of the 77 positions, which are no weights
DECODER = 49_490_199
PRESETS: dict[str, tuple[int, int]] = {
    "sd-1.5": (CLIP_L, 859_520_964),
    "sd-2.1": (OPENCLIP_H, 865_910_724),
    "decidiffusion-1.0": (CLIP_L, 814_746_884),
    "decidiffusion-2.0": (CLIP_L, 516_267_204),
}


@cache
def measured(name: str) -> list[ComponentWork]:
    return measure(load_card(name))


def test_all_presets_ship() -> None:
    shipped = [load_card(folder.name) for folder in shipped_folders()]
    assert {card.name for card in shipped if card.weights == "random"} == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_published_number_of_parameters(name: str) -> None:
    text_encoder, denoiser, decoder = measured(name)
    assert (text_encoder.parameters, denoiser.parameters) == PRESETS[name]
    assert decoder.parameters == DECODER


@pytest.mark.parametrize("name", PRESETS)
def test_the_whole_autoencoder_has_the_published_number_of_parameters(name: str) -> None:
    config = dict(read_json(load_card(name).folder / "vae" / "config.json"))
    with torch.device("meta"):
        whole = AutoencoderKL.from_config(config)
    assert sum(parameter.numel() for parameter in whole.parameters()) == 83_653_863


@pytest.mark.parametrize(
    ("name", "side", "sampler"),
    [
        ("sd-1.5", 512, PLAIN),
        ("sd-2.1", 768, PLAIN),
        ("decidiffusion-1.0", 512, PUBLISHED_SQUEEZED),
        ("decidiffusion-2.0", 512, PUBLISHED_SQUEEZED),
    ],
)
def test_a_preset_draws_as_its_model_does(name: str, side: int, sampler: object) -> None:
    card = load_card(name)
    assert (card.width, card.height, card.sampler) == (side, side, sampler)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_what_it_is(name: str) -> None:
    note = load_card(name).note or ""
    assert "Random weights." in note
    assert note.startswith("A reconstruction:") == name.startswith("decidiffusion")


@pytest.mark.parametrize("side", [8, 9, 64])
@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_denoiser_keeps_the_shape_of_its_latents(name: str, side: int) -> None:
    card = load_card(name)
    width = {"sd-2.1": 1024}.get(name, 768)
    with torch.device("meta"), torch.inference_mode():
        latents = torch.zeros(2, 4, side, side)
        timesteps = torch.zeros(2, dtype=torch.int64)
        predicted = make_denoiser(card)(latents, timesteps, torch.zeros(2, 77, width))
    assert predicted.shape == latents.shape


def test_reconstructions_cost_less_than_stable_diffusion() -> None:
    stable, first, second = (
        measured(name)[1].gmacs for name in ("sd-1.5", "decidiffusion-1.0", "decidiffusion-2.0")
    )
    assert first < stable
    assert second <= 195.7 < stable / 1.73
