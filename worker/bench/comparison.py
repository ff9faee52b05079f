"""The arithmetic of a comparison. Times and money are whole; ratios are for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.db.outcomes import PhaseTimes
from shared.domain.money import device_cost


@dataclass(frozen=True, slots=True)
class Gains:
    """How much better one model does than another."""

    speedup_per_iteration: float
    speedup_end_to_end: float
    cost_saved_percent: float | None
    """Of an image; None where the other model's image costs nothing."""


PUBLISHED_DEVICE = "Qualcomm Cloud AI 100"
PUBLISHED = Gains(speedup_per_iteration=1.73, speedup_end_to_end=2.6, cost_saved_percent=61.0)
"""Of DeciDiffusion 2.0 at 10 steps over Stable Diffusion 1.5 at 16."""


@dataclass(frozen=True, slots=True)
class ModelTimes:
    """What the images of one model took, one a round; in whole nanoseconds."""

    steps: int
    """How often the denoiser ran for an image."""
    rounds: Sequence[PhaseTimes]
    """At least one."""

    @property
    def text_encode_ns(self) -> int:
        """Median of encoding the prompt and the negative prompt."""
        return median([times.text_encode_ns for times in self.rounds])

    @property
    def denoise_ns(self) -> int:
        """Median of all steps of an image."""
        return median([times.denoise_ns for times in self.rounds])

    @property
    def decode_ns(self) -> int:
        """Median of decoding."""
        return median([times.decode_ns for times in self.rounds])

    @property
    def iteration_ns(self) -> int:
        """One step, guidance and solver included; rounded half up."""
        return (2 * self.denoise_ns + self.steps) // (2 * self.steps)

    @property
    def device_ns(self) -> int:
        """Median of a whole image; a job would be charged for this."""
        return median([times.device_ns for times in self.rounds])

    @property
    def device_range_ns(self) -> tuple[int, int]:
        """The fastest image and the slowest."""
        whole = [times.device_ns for times in self.rounds]
        return min(whole), max(whole)

    def cost_nanodollars(self, nanodollars_per_hour: int) -> int:
        """Price the median image as the books would."""
        return device_cost(self.device_ns, nanodollars_per_hour)


def compare(baseline: ModelTimes, candidate: ModelTimes, nanodollars_per_hour: int) -> Gains:
    """Tell what the candidate gains over the baseline at one price for both."""
    baseline_cost = baseline.cost_nanodollars(nanodollars_per_hour)
    candidate_cost = candidate.cost_nanodollars(nanodollars_per_hour)
    return Gains(
        speedup_per_iteration=(baseline.denoise_ns * candidate.steps)
        / (candidate.denoise_ns * baseline.steps),
        speedup_end_to_end=baseline.device_ns / candidate.device_ns,
        cost_saved_percent=100 * (baseline_cost - candidate_cost) / baseline_cost
        if baseline_cost
        else None,
    )


def median(values: Sequence[int]) -> int:
    """Return the middle value, or the whole part of the mean of the middle two.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values have no median")
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) // 2
