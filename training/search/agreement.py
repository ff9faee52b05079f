"""How well times of parts add up to those of whole members."""

from __future__ import annotations

import random
from collections.abc import Iterable
from statistics import median

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from scipy.stats import spearmanr

from training.search.engines import Engine
from training.search.family import Member
from training.search.latency import LatencyTable
from training.search.measuring import in_turn
from training.search.members import short
from training.search.progress import progress


class Agreement(BaseModel):
    """Times of whole members, in milliseconds, as a table says and as they were measured."""

    model_config = ConfigDict(frozen=True)

    target: str
    members: tuple[Member, ...]
    predicted: tuple[float, ...]
    measured: tuple[float, ...]

    @property
    def fit(self) -> tuple[float, float]:
        """Scale and offset (in ms) that bring what the table says closest to what was measured."""
        if len(set(self.predicted)) == 1:
            return median(self.measured) / self.predicted[0], 0.0
        scale, offset = np.polyfit(self.predicted, self.measured, deg=1)
        return float(scale), float(offset)

    @property
    def pearson(self) -> float:
        """How close to a line the pairs lie."""
        return float(np.corrcoef(self.predicted, self.measured)[0, 1])

    @property
    def spearman(self) -> float:
        """How far both agree on the order."""
        return float(spearmanr(self.predicted, self.measured).statistic)

    def median_error(self, scale: float = 1.0, offset: float = 0.0) -> float:
        """Return the median distance from what was measured, as a share of it."""
        pairs = zip(self.predicted, self.measured, strict=True)
        return median(abs(scale * said + offset - was) / was for said, was in pairs)


def check(
    engine: Engine,
    members: Iterable[Member],
    table: LatencyTable,
    *,
    rounds: int,
    generator: random.Random,
) -> Agreement:
    """Measure whole members in turn, and set beside it what a table says.

    Raises:
        InputError: the table lacks a part of a member.
    """
    predicted = {member: table.latency(member) for member in members}
    with progress("members, in turn", rounds * len(predicted)) as done:
        with torch.inference_mode():
            runs = {member: engine.whole(member) for member in predicted}
        *_, times = in_turn(runs, rounds, generator, done)
    measured = tuple(times[member].ms for member in predicted)
    return Agreement(
        target=table.target,
        members=tuple(predicted),
        predicted=tuple(predicted.values()),
        measured=measured,
    )


def print_agreement(found: Agreement) -> None:
    """Print what a table says of members beside what was measured, at 80 columns."""
    scale, offset = found.fit
    print(f"\n{'predicted':>10} {'measured':>10} {'fitted':>10}  member")
    for member, said, was in zip(found.members, found.predicted, found.measured, strict=True):
        print(f"{said:7.3f} ms {was:7.3f} ms {scale * said + offset:7.3f} ms  {short(member)}")
    if len(found.members) > 1:
        print(f"\nPearson {found.pearson:.3f}, Spearman {found.spearman:.3f}")
    print(f"median relative error {found.median_error():.1%} as predicted,")
    print(f"{found.median_error(scale, offset):.1%} after the fit {scale:.3f} x + {offset:.3f} ms")
