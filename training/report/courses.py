"""The samplers that quality is measured with: families of step grids, of ever more steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.domain.sampling import SamplerSettings, SchedulerName
from shared.models.card import ModelCard
from training.grids.squeezes import squeeze_of

STEPS = (4, 6, 8, 10, 12, 16, 25, 50)
"""Runs of the denoiser."""
DDIM, PLAIN, SQUEEZED, SEARCHED = "DDIM", "DPM-Solver++", "SqueezedDPM++", "searched grid"
BASELINE = f"{SchedulerName.DPM_SOLVER}:16"
"""What the brief compares ten squeezed steps with: sixteen plain ones."""
STRONGER = f"{SchedulerName.DPM_SOLVER}:12"
"""What comes nearest to 200 steps of all plain numbers up to sixteen."""


def specifications(card: ModelCard) -> Mapping[str, Sequence[str]]:
    """Return what `tenstep eval --sampler` is told, by family; the baseline is among them.

    Args:
        card: of the model, whose searched grids there are.
    """
    return {
        DDIM: [f"{SchedulerName.DDIM}:{steps}" for steps in STEPS],
        PLAIN: [f"{SchedulerName.DPM_SOLVER}:{steps}" for steps in STEPS],
        SQUEEZED: [_squeezed(steps) for steps in STEPS],
        SEARCHED: [
            f"{SchedulerName.SEARCHED}:{steps}" for steps in STEPS if steps in card.searched_grids
        ],
    }


def family_of(sampler: SamplerSettings) -> str:
    """Return which family a sampler belongs to."""
    if sampler.squeeze is not None:
        return SQUEEZED
    return {SchedulerName.DDIM: DDIM, SchedulerName.SEARCHED: SEARCHED}.get(
        sampler.scheduler, PLAIN
    )


def _squeezed(steps: int) -> str:
    base_steps, squeeze = squeeze_of(steps)
    return f"{SchedulerName.DPM_SOLVER}:{base_steps}:{squeeze}"
