"""Does the proxy rank? Some members are trained to the end of a schedule, and compared with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from scipy.stats import bootstrap, spearmanr

from training.search.cost import cost
from training.search.exam import Marks
from training.search.family import Member
from training.search.space import Space

FEWEST = 8
"""Members that a rank correlation is said of."""
_DRAWN = 64
_RESAMPLES = 5000


class RankedMember(BaseModel):
    """One member: what it costs, what the proxy says, and how well it does trained by itself."""

    model_config = ConfigDict(frozen=True)

    member: Member
    parameters: int
    macs: int
    """Multiply-accumulates of one prediction."""
    proxy: Marks
    trained: Marks


@dataclass(frozen=True, slots=True)
class Agreement:
    """Spearman's rank correlation, with its 95 % interval by the bootstrap over members."""

    spearman: float
    low: float
    high: float


class Ranking(BaseModel):
    """What the proxy and trainings say of the same members."""

    model_config = ConfigDict(frozen=True)

    samples: int
    """Pictures that each member was trained on."""
    supernet_samples: int
    members: tuple[RankedMember, ...]

    def agreement(self, guess: Callable[[RankedMember], float]) -> Agreement:
        """Compare a guess (lower is better) with the error on pictures that training sees.

        Raises:
            ValueError: there are too few members.
        """
        if len(self.members) < FEWEST:
            raise ValueError(f"{len(self.members)} members: a ranking takes {FEWEST} at least")
        guesses = np.array([guess(one) for one in self.members])
        errors = np.array([one.trained.trained for one in self.members])
        with warnings.catch_warnings():
            # A resample of one member many times has no rank.
            warnings.simplefilter("ignore")
            interval = bootstrap(
                (guesses, errors),
                lambda left, right: spearmanr(left, right).statistic,
                paired=True,
                vectorized=False,
                n_resamples=_RESAMPLES,
                method="percentile",
                rng=0,
            ).confidence_interval
        found = float(spearmanr(guesses, errors).statistic)
        return Agreement(found, float(interval.low), float(interval.high))


def spread_members(space: Space, places: Sequence[float], seed: int) -> Sequence[Member]:
    """Draw members by chance; return those at some places in the order of multiply-accumulates.

    Args:
        space: of the members.
        places: from 0, the cheapest that was drawn, to 1, the dearest.
        seed: of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = sorted(
        {space.draw(generator) for _ in range(_DRAWN)},
        key=lambda member: (int(cost(member, space.trunk)[1]), str(member)),
    )
    return [drawn[round(place * (len(drawn) - 1))] for place in places]
