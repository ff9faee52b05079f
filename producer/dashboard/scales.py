"""Places in a picture: from figures to per cent of its width and of its height."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from producer.plan_plot import SECONDS, TIMES

SPARK_WIDTH, SPARK_HEIGHT = 120, 24
DECIMALS = 2
STEPS = (1, 2, 5)
MOST_TIMES = 6


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis: what is at its ends, and where in the picture these are, in per cent."""

    low: float
    high: float
    begin: float = 0
    end: float = 100
    is_logarithmic: bool = False
    """Then all figures are above 0."""

    def place(self, value: float) -> float:
        """Return where a figure is, in per cent; beyond the ends it is at them."""
        inside = min(max(value, self.low), self.high)
        if self.is_logarithmic:
            part = log(inside / self.low) / (log(self.high / self.low) or 1)
        else:
            part = (inside - self.low) / ((self.high - self.low) or 1)
        return round(self.begin + part * (self.end - self.begin), DECIMALS)


def spark_points(values: Sequence[float]) -> str:
    """Return the points of a line in a box of 120 by 24, of values from 0 to 1."""
    step, height = SPARK_WIDTH / max(len(values) - 1, 1), SPARK_HEIGHT - 2
    return " ".join(
        f"{at * step:g},{1 + (1 - value) * height:.1f}" for at, value in enumerate(values)
    )


def round_ticks(highest: int, most: int = 4) -> Sequence[int]:
    """Return round whole numbers from a step above 0 to the highest: 1, 2 or 5 of a power of 10."""
    step, power = 1, 1
    while highest // step > most:
        for factor in STEPS:
            step = factor * power
            if highest // step <= most:
                break
        power *= 10
    return range(step, highest + 1, step)


def time_ticks(low: float, high: float) -> Sequence[tuple[int, str]]:
    """Return times between two, in seconds, and what they are called: ``(7200, "2 h")``."""
    found = [
        (number * SECONDS[unit], f"{number} {unit}")
        for unit, numbers in TIMES.items()
        for number in numbers
        if low <= number * SECONDS[unit] <= high
    ]
    return found[:: -(-len(found) // MOST_TIMES) or 1]
