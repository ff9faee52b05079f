from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from shared.domain.quality import QUALITIES, Quality
from shared.domain.sampling import SchedulerName
from worker.bench.speed.reckoning import Sparing
from worker.diffusion.sampler import denoise
from worker.diffusion.solvers import plot_course
from worker.models.rows import spread

IMAGES = 2


class Counting:
    """A denoiser that can reuse features, and counts what it is asked for by kind and rows."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()

    def __call__(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        self.asked["whole", len(encoder_hidden_states)] += 1
        return spread(sample, len(encoder_hidden_states)) / 2

    def keep(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor
    ) -> tuple[Tensor, Tensor]:
        rows = len(encoder_hidden_states)
        self.asked["keep", rows] += 1
        return spread(sample, rows) / 2, spread(sample, rows)

    def reuse(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, deep: Tensor
    ) -> Tensor:
        rows = len(encoder_hidden_states)
        assert len(deep) == rows
        self.asked["reuse", rows] += 1
        return spread(sample, rows) / 2


def drawn(quality: Quality, most: int) -> tuple[Counting, Sparing, Tensor]:
    """Take ten steps of emoji-64's grid."""
    counting = Counting()
    sparing = Sparing(counting, counting, most)
    latents = denoise(
        sparing,
        plot_course({}, SchedulerName.DPM_SOLVER, 16, "10,6").solver(),
        torch.randn(IMAGES, 4, 8, 8, generator=torch.Generator().manual_seed(0)),
        torch.zeros(2 * IMAGES, 1, 1),
        guidance_scale=torch.full((IMAGES,), 4.0),
        guidance_rescale=torch.zeros(IMAGES),
        shortcuts=QUALITIES[quality],
        deep=sparing.deep,
    )
    return counting, sparing, latents


def test_of_each_kind_of_step_that_occurs_as_many_are_taken_as_asked_for() -> None:
    whole, reckons_nothing, _ = drawn(Quality.BALANCED, 10)
    spared, reckons, _ = drawn(Quality.BALANCED, 2)

    assert sum(whole.asked.values()) == 10
    assert reckons_nothing.spared_ns == 0
    pair, single = 2 * IMAGES, IMAGES
    assert set(whole.asked) == {
        ("keep", pair),
        ("reuse", pair),
        ("keep", single),
        ("reuse", single),
    }
    assert spared.asked == {kind: min(2, count) for kind, count in whole.asked.items()}
    assert reckons.spared_ns > 0


def test_an_exact_images_steps_are_of_one_kind() -> None:
    counting, _, _ = drawn(Quality.EXACT, 2)

    assert counting.asked == {("whole", 2 * IMAGES): 2}


def test_latents_of_an_image_that_is_taken_whole_are_the_denoisers_own() -> None:
    _, _, taken = drawn(Quality.FAST, 10)
    _, _, more_than_whole = drawn(Quality.FAST, 100)

    assert torch.equal(taken, more_than_whole)
    assert taken.isfinite().all()


def test_what_cannot_reuse_features_does_not_claim_to() -> None:
    sparing = Sparing(Counting(), None, 1)

    assert sparing.deep is None
    with pytest.raises(TypeError, match="cannot reuse"):
        sparing.keep(torch.zeros(1), torch.zeros(1), torch.zeros(1))
