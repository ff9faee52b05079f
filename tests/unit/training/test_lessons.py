"""What the stages of an emoji run see: the numbers that running trainings go on with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from support.tiny_training import ROWS, STAGE, leave_data, tiny_run
from training import autoencoder, decoder, denoiser, loop, text, tokenizer
from training.data.dataset import choose, load_dataset, sampling_weights
from training.data.deck import CaptionDeck
from training.noise_levels import NoiseLevels

# diffusers' schedulers meet NumPy 2 with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STEPS = 2
TWO_STEPS = {**STAGE, "steps": STEPS}
RUN = tiny_run(
    {"name": "low", "steps": 1, "image_size": 32},
    {"name": "core", "steps": 1, "batch": 4, "concepts": "core", "solver_share": 0.5},
    text=TWO_STEPS,
    decoder=TWO_STEPS,
)
Inputs = list[tuple[Tensor, ...]]


@contextmanager
def inputs_of(kind: type[nn.Module]) -> Iterator[Inputs]:
    """Collect what networks of a kind are called with."""
    collected: Inputs = []

    def collect(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, kind):
            collected.append(inputs)

    hook = register_module_forward_pre_hook(collect)
    try:
        yield collected
    finally:
        hook.remove()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("emoji")
    leave_data(RUN, ROWS, folder)
    return folder


@pytest.fixture(scope="module")
def seen(work: Path) -> dict[str, Inputs]:
    """What the networks of the first stages, and of the last, saw in their steps."""
    stages = {
        autoencoder: autoencoder.Reconstruction,
        text: text.TextToRegions,
        decoder: decoder.LatentsToPictures,
    }
    found = {}
    for stage, kind in stages.items():
        with inputs_of(kind) as found[stage.__name__]:
            stage.train(RUN, work)
    return found


@pytest.fixture(scope="module")
def latents(seen: dict[str, Inputs], work: Path) -> Tensor:
    latents: Tensor = torch.load(work / autoencoder.LATENTS, weights_only=True)
    return latents


def drawn(step: int, batch: int = 2) -> tuple[Tensor, torch.Generator]:
    """Draw a step's pictures, the first of its random numbers."""
    weights = torch.tensor([3.0, 1.0, 3.0])
    generator = loop.step_generator(RUN.seed, step)
    return choose(weights, batch, generator), generator


def test_the_autoencoder_sees_pictures_then_noise(seen: dict[str, Inputs], work: Path) -> None:
    images = load_dataset(work / "data").images
    assert len(seen["training.autoencoder"]) == STEPS
    for step, (pictures, noise) in enumerate(seen["training.autoencoder"]):
        chosen, generator = drawn(step)
        assert torch.equal(pictures, autoencoder.as_tensor(images[chosen.numpy()]))
        assert torch.equal(noise, torch.randn((2, 2, 8, 8), generator=generator))


def test_the_text_encoder_sees_captions_of_the_pictures(
    seen: dict[str, Inputs], work: Path
) -> None:
    deck = CaptionDeck(ROWS, tokenizer.load(work / "tokenizer"), dropout=0.0)
    assert len(seen["training.text"]) == STEPS
    for step, (tokens,) in enumerate(seen["training.text"]):
        assert torch.equal(tokens, deck.deal(*drawn(step)))


def test_the_decoder_sees_latents_with_noise(seen: dict[str, Inputs], latents: Tensor) -> None:
    assert len(seen["training.decoder"]) == STEPS
    for step, (noisy,) in enumerate(seen["training.decoder"]):
        chosen, generator = drawn(step)
        noise = torch.randn((2, 2, 8, 8), generator=generator)
        assert torch.equal(noisy, latents[chosen] + RUN.decoder.latent_noise * noise)


def test_a_phase_sees_latents_noise_timesteps_and_captions_in_this_order(
    latents: Tensor, work: Path
) -> None:
    number, phase = 1, RUN.denoiser.phases[1]
    data = denoiser.PhaseData(RUN, number, work)
    levels = NoiseLevels(phase, RUN.sample)
    deck = CaptionDeck(ROWS, tokenizer.load(work / "tokenizer"), RUN.denoiser.caption_dropout)
    weights = sampling_weights(load_dataset(work / "data"), 3.0, only_core=True)
    for step in range(3):
        generator = loop.step_generator(RUN.seed + number, step)
        chosen = choose(weights, 4, generator)
        clean = latents[chosen]
        noise = torch.randn(clean.shape, generator=generator)
        timesteps = levels.draw(4, generator)
        signal, sigma = (
            part[timesteps].view(-1, 1, 1, 1) for part in (levels.signal, levels.noise)
        )
        expected = (
            signal * clean + sigma * noise,
            signal * noise - sigma * clean,
            timesteps,
            deck.deal(chosen, generator),
            levels.weights[timesteps],
        )
        for part in (slice(0, None, 1), slice(0, None, 2), slice(1, None, 2)):
            for found, tensor in zip(data.batch(step, part), expected, strict=True):
                assert torch.equal(found, tensor[part])
