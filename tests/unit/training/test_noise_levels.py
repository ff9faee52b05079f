"""Noise levels that batches are trained at, and their weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from training.config import PhaseConfig, SampleConfig
from training.noise_levels import NoiseLevels, min_snr_weights, solver

SQUEEZED = [998, 936, 873, 811, 748, 686, 548, 411, 274, 137]


def levels_of(sample: SampleConfig | None = None, **settings: Any) -> NoiseLevels:
    stage = {"name": "any", "steps": 1, "batch": 1, "optimiser": {"learning_rate": 1.0}}
    return NoiseLevels(PhaseConfig.model_validate(stage | settings), sample or SampleConfig())


def test_levels_are_stratified_over_all_timesteps() -> None:
    drawn = levels_of().draw(10, torch.Generator().manual_seed(0))
    assert [int(level) // 100 for level in drawn] == list(range(10))


def test_a_batch_of_the_solvers_levels_has_each_of_them() -> None:
    drawn = levels_of(solver_share=1.0).draw(10, torch.Generator().manual_seed(0))
    assert drawn.tolist() == SQUEEZED


def test_a_share_of_the_levels_is_the_solvers() -> None:
    drawn = levels_of(solver_share=0.6).draw(4000, torch.Generator().manual_seed(0))
    own = torch.isin(drawn, torch.tensor(SQUEEZED)).float().mean()
    assert 0.55 < own < 0.65


def test_searched_timesteps_take_the_place_of_the_grid() -> None:
    sample = SampleConfig(timesteps=(990, 500, 30))
    drawn = levels_of(sample, solver_share=1.0).draw(60, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {990, 500, 30}
    assert solver(sample).timesteps.tolist() == [990, 500, 30]


def test_the_plain_grid_has_all_its_steps() -> None:
    assert len(solver(SampleConfig(squeeze=None, grid_steps=7)).timesteps) == 7


def test_signal_and_noise_keep_the_variance() -> None:
    levels = levels_of()
    assert torch.allclose(levels.signal**2 + levels.noise**2, torch.ones(1000))
    assert levels.signal[0] > 0.99
    assert levels.signal[-1] < 0.01


# ᾱ = SNR / (SNR + 1); the weight is min(SNR, 5) / (SNR + 1), by hand.
@pytest.mark.parametrize(
    ("snr", "weight"),
    [(0.0, 0.0), (0.25, 0.2), (1.0, 0.5), (4.0, 0.8), (5.0, 5 / 6), (9.0, 0.5), (99.0, 0.05)],
)
def test_min_snr_weighs_the_velocity(snr: float, weight: float) -> None:
    cumulative = torch.tensor([snr / (snr + 1.0)], dtype=torch.float64)
    assert min_snr_weights(cumulative, 5.0).item() == pytest.approx(weight)


def test_weights_are_even_unless_a_phase_asks() -> None:
    assert torch.equal(levels_of().weights, torch.ones(1000))
    weighted = levels_of(loss_weighting="min-snr", min_snr_gamma=1.0).weights
    assert weighted.argmax() == pytest.approx(500, abs=5)
    assert weighted.max() == pytest.approx(0.5, abs=0.01)
