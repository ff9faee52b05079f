"""The peer that is diffusers' own pipeline does the work that tenstep does, and tells its times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.domain.quality import Quality
from shared.models.card import ModelCard, read_card, read_json
from shared.models.catalog import load_card
from support.closeness import ALIKE, difference
from support.families import write_family
from worker.backends.pixels import to_pixels
from worker.bench.speed.contestants import PROMPT, Setup
from worker.bench.speed.diffusers_peer import DiffusersContestant, Moments, open_diffusers
from worker.bench.speed.diffusers_pipeline import load_diffusers, load_tokenizer
from worker.diffusion.sampler import denoise
from worker.diffusion.solvers import plot_course
from worker.models.networks import Networks, load_networks
from worker.models.tokenizer import PromptTokenizer

SIDE = 64
CHUNK = 2
PROMPTS = [PROMPT] * CHUNK
SHADES = 1
"""By which two roundings of one image may differ."""


@pytest.fixture(scope="module", params=["emoji-64", "sd-1.5", "decidiffusion-2.0"])
def card(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    """The model that ships, and others of random weights: U-Nets of either kind."""
    if request.param == "emoji-64":
        return load_card(request.param)
    folder = tmp_path_factory.mktemp("models") / request.param
    return read_card(write_family(request.param, folder))


def setup_of(card: ModelCard, *, whole: bool = True) -> Setup:
    return Setup(
        card=card,
        side=SIDE,
        chunk=CHUNK,
        threads=1,
        whole=whole,
        quality=Quality.EXACT,
        filter_bytes=0,
    )


@lru_cache(maxsize=1)
def contestant_of(card: ModelCard) -> DiffusersContestant:
    return DiffusersContestant(load_diffusers(card), setup_of(card), "contiguous")


@lru_cache(maxsize=1)
def ours(card: ModelCard) -> Networks:
    return load_networks(card)


def noise_for(card: ModelCard) -> Tensor:
    vae = ours(card).decoder.config
    shape = (CHUNK, vae.latent_channels, SIDE // vae.factor, SIDE // vae.factor)
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


@torch.inference_mode()
def drawn_by_tenstep(card: ModelCard, noise: Tensor) -> Tensor:
    """Return latents along the plain grid of as many steps as the model's own has."""
    networks, sampler = ours(card), card.sampler
    tokens = PromptTokenizer(card)
    ids = torch.cat([tokens(texts).ids for texts in ([""] * CHUNK, PROMPTS)])
    config = read_json(card.folder / "scheduler" / "scheduler_config.json")
    return denoise(
        networks.denoiser,
        plot_course(config, sampler.scheduler, sampler.evaluations, None).solver(),
        noise,
        networks.text_encoder(ids),
        guidance_scale=torch.full((CHUNK,), sampler.guidance_scale),
        guidance_rescale=torch.full((CHUNK,), sampler.guidance_rescale),
    )


@contextmanager
def counted_rows(contestant: DiffusersContestant) -> Iterator[list[int]]:
    """Note how many rows each run of the denoiser has."""
    rows: list[int] = []
    unet: Any = contestant.pipeline.unet
    hook = unet.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    try:
        yield rows
    finally:
        hook.remove()


def shades(images: Sequence[Any]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).int()


def test_latents_and_images_are_those_of_tensteps_own_steps_on_a_plain_grid(
    card: ModelCard,
) -> None:
    contestant, noise = contestant_of(card), noise_for(card)
    expected = drawn_by_tenstep(card, noise)

    latents, _ = contestant.draw(PROMPTS, noise, card.sampler.evaluations, "latent")
    images, _ = contestant.draw(PROMPTS, noise, card.sampler.evaluations)

    assert difference(latents, expected) < ALIKE
    with torch.inference_mode():
        pixels = to_pixels(ours(card).decoder(expected)).int()
    assert shades(images).shape == (CHUNK, SIDE, SIDE, 3)
    assert int((shades(images) - pixels).abs().max()) <= SHADES
    assert float(pixels.float().std()) > SHADES


@pytest.mark.parametrize("name", ["emoji-64", "sd-1.5"])
def test_prompts_become_the_same_tokens_with_a_borrowed_vocabulary_too(name: str) -> None:
    card = load_card(name)
    prompts = ["", PROMPT, "Größe:  a CAT's\n2 hats, " * 40]

    found = load_tokenizer(card)(
        prompts, padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids

    assert torch.equal(found, PromptTokenizer(card)(prompts).ids)


@pytest.mark.parametrize(("whole", "taken"), [(True, 10), (False, 2)])
def test_a_round_that_is_not_whole_takes_two_steps(*, whole: bool, taken: int) -> None:
    setup = setup_of(load_card("emoji-64"), whole=whole)
    contestant = DiffusersContestant(load_diffusers(setup.card), setup, "contiguous")

    with counted_rows(contestant) as rows:
        times = contestant.round()

    assert rows == [2 * CHUNK] * taken
    assert min(times.text_encode_ns, times.denoise_ns, times.decode_ns) > 0


def test_the_phases_of_a_whole_image_are_all_of_the_call() -> None:
    card = load_card("emoji-64")

    _, moments = contestant_of(card).draw(PROMPTS, noise_for(card), card.sampler.evaluations)

    assert len(moments.steps) == card.sampler.evaluations
    assert [*moments.steps] == sorted(moments.steps)
    phases = moments.phases(card.sampler.evaluations, chunk=1)
    assert (
        phases.text_encode_ns + phases.denoise_ns + phases.decode_ns == moments.end - moments.begin
    )


def test_steps_that_are_left_out_take_what_the_last_one_did() -> None:
    moments = Moments(begin=1000, encoded=1020, steps=[1100, 1140], end=1200)

    phases = moments.phases(steps=10, chunk=2)

    assert (phases.text_encode_ns, phases.decode_ns) == (10, 30)
    assert phases.denoise_ns == (80 + 40 + 8 * 40) // 2


def test_what_is_left_out_of_one_image_is_not_left_out_of_the_next() -> None:
    card = load_card("emoji-64")
    contestant, noise = contestant_of(card), noise_for(card)
    whole, _ = contestant.draw(PROMPTS, noise, card.sampler.evaluations, "latent")

    shortened, _ = contestant.draw(PROMPTS, noise, 2, "latent")
    again, _ = contestant.draw(PROMPTS, noise, card.sampler.evaluations, "latent")

    assert torch.equal(whole, again)
    assert difference(shortened, whole) > 100 * ALIKE


def test_the_report_says_what_runs_in_which_layout_and_along_which_grid(tmp_path: Path) -> None:
    squeezed = open_diffusers(setup_of(load_card("emoji-64"), whole=False)).settings
    plain = open_diffusers(setup_of(read_card(write_family("sd-1.5", tmp_path / "sd")))).settings

    assert squeezed.startswith("diffusers' parts, diffusers ")
    assert "10 steps of a plain grid, as it has no squeezed one" in squeezed
    assert plain.startswith("diffusers ")
    assert "grid" not in plain
    for settings in (squeezed, plain):
        assert ", its own pipeline" in settings
        assert ("contiguous" in settings) != ("channels last" in settings)
