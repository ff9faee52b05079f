"""The shipped model that needs no guidance draws what the one that needs it draws with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from shared.domain.prompts import ImageSettings
from shared.models.card import ModelCard
from shared.models.catalog import load_card
from worker.devices import Device
from worker.loading import load_pipeline

PROMPTS = ("a red apple", "a panda", "a rocket, noto style", "a house, flat twemoji style")


def drawn(card: ModelCard, **changed: float) -> npt.NDArray[np.float64]:
    """Return a card's drawings of the prompts, (4, 64, 64, 3), shades of 255."""
    settings = card.sampler.model_dump() | changed
    jobs: Sequence[ImageSettings] = [
        ImageSettings(prompt=prompt, seed=seed, width=64, height=64, **settings)
        for seed, prompt in enumerate(PROMPTS)
    ]
    pipeline = load_pipeline(card, Device.parse("cpu"), threads=1)
    return np.stack([drawing.pixels.astype(float) for drawing in pipeline.draw(jobs)])


@pytest.fixture(scope="module")
def guided() -> npt.NDArray[np.float64]:
    return drawn(load_card("emoji-64"))


def test_it_draws_without_guidance_nearly_what_guidance_draws(
    guided: npt.NDArray[np.float64],
) -> None:
    distilled = load_card("emoji-64-distilled")
    assert distilled.sampler.guidance_scale == 1

    away = np.abs(drawn(distilled) - guided).mean()
    untaught = np.abs(drawn(load_card("emoji-64"), guidance_scale=1.0) - guided).mean()

    assert away < 0.5 * untaught


def test_it_is_the_same_model_but_for_its_guidance() -> None:
    teacher, distilled = load_card("emoji-64"), load_card("emoji-64-distilled")
    no_guidance = {"guidance_scale": 1.0, "guidance_rescale": 0.0}
    assert distilled.sampler == teacher.sampler.model_copy(update=no_guidance)
    assert distilled.weights_sha256 != teacher.weights_sha256
    assert set(distilled.searched_grids) == set(teacher.searched_grids)
    assert distilled.has_tiny_decoder == teacher.has_tiny_decoder
    assert "a negative prompt changes nothing" in str(distilled.note)
