"""How sure a mean over drawings is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

RESAMPLES = 2000
_TAILS = (2.5, 97.5)
_SEED = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % interval, by the percentile bootstrap over drawings."""

    mean: float
    low: float
    high: float

    @property
    def holds_zero(self) -> bool:
        """Whether the mean may be zero, for all that is known."""
        return self.low <= 0 <= self.high

    def moved(self, by: float) -> Interval:
        """Return the interval of the same values with a constant added to each."""
        return Interval(self.mean + by, self.low + by, self.high + by)


def mean_interval(values: Values) -> Interval:
    """Return the mean of values (N,), one a drawing, and how sure it is.

    The same drawings are drawn again for all values of one length, so an interval is the
    same in every run.

    Raises:
        ValueError: there are no values.
    """
    if not len(values):
        raise ValueError("no drawing was measured")
    generator = np.random.default_rng(_SEED)
    chosen = generator.integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[chosen].mean(axis=1), _TAILS)
    return Interval(float(values.mean()), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Statistic:
    """What is told of a set of drawings as a whole, such as a distance from pictures."""

    value: float
    influences: Values
    """(N,): what each drawing adds to it, to first order. Their mean's bootstrap is the
    statistic's; the difference of two sets' is that of the statistics, drawing by drawing."""

    @property
    def interval(self) -> Interval:
        """The statistic, and how sure it is."""
        return mean_interval(self.influences - self.influences.mean()).moved(self.value)

    def __sub__(self, other: Statistic) -> Statistic:
        """Return how much more it is of this set than of another of the same questions."""
        return Statistic(self.value - other.value, self.influences - other.influences)
