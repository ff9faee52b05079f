"""Find the U-Net-NAS that makes the most of a budget of parameters and multiply-accumulates.

Without training, size is the only stand-in for quality: the score of a member is the share
that it uses of the budget that it uses less of, and the highest wins. The search is
exhaustive, and takes a second or two.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.search.cost import attention_costs, cost
from training.search.family import SD_TRUNK, Member
from worker.models.measure import GIGA


@dataclass(frozen=True, slots=True)
class Family:
    """What members may be. A block has no more attentions than resnets."""

    channels: tuple[int, ...] = (320, 640, 1280)
    max_resnets: int = 4
    max_mid_resnets: int = 3
    any_bottom: bool = False
    """Whether the deepest level may go without a downsampler; else it has one."""
    attended_levels: int = 2
    """How many levels, from the deepest, have at least one attention."""

    def skeletons(self) -> Iterator[Member]:
        """Yield the members without their levels' attentions."""
        levels = len(self.channels)
        for resnets in product(range(1, self.max_resnets + 1), repeat=levels):
            for mid_resnets in range(self.max_mid_resnets + 1):
                for mid_attentions in range(mid_resnets + 2):
                    for halves in (True, False) if self.any_bottom else (True,):
                        yield Member(
                            self.channels,
                            resnets,
                            (0,) * levels,
                            mid_resnets,
                            mid_attentions,
                            halves,
                        )


@dataclass(frozen=True, slots=True)
class Budget:
    """What a member may cost."""

    max_parameters: int
    max_gmacs: float
    is_exact: bool = False
    """Whether exactly that many parameters are wanted."""


@dataclass(frozen=True, slots=True)
class Found:
    """The best member, its cost, and its share of the budget that it uses less of."""

    configurations: dict[str, Any]
    parameters: int
    gmacs: float
    share: float


def search(family: Family, budget: Budget) -> Found | None:
    """Return the member that makes the most of a budget, if any keeps to it."""
    limits = np.array([budget.max_parameters, int(budget.max_gmacs * GIGA)])
    best: Found | None = None
    for skeleton in family.skeletons():
        base = cost(skeleton, SD_TRUNK)
        if (base > limits).any():
            continue
        counts = _attention_counts(
            tuple(2 * resnets + 1 for resnets in skeleton.resnets), family.attended_levels
        )
        totals = base + counts @ attention_costs(family.channels, SD_TRUNK)
        fits = (totals <= limits).all(axis=1)
        if budget.is_exact:
            fits &= totals[:, 0] == budget.max_parameters
        shares = np.where(fits, (totals / limits).min(axis=1), 0.0)
        index = int(shares.argmax())
        if shares[index] > (best.share if best else 0):
            member = replace(skeleton, attentions=tuple(counts[index].tolist()))
            parameters, macs = totals[index].tolist()
            best = Found(
                member.configurations(SD_TRUNK), parameters, macs / GIGA, float(shares[index])
            )
    return best


@cache
def _attention_counts(most: tuple[int, ...], attended: int) -> NDArray[np.int64]:
    """Return all numbers of attentions by level, (choices, levels)."""
    least = [0] * (len(most) - attended) + [1] * attended
    ranges = [range(low, high + 1) for low, high in zip(least, most, strict=True)]
    return np.array(list(product(*ranges)))


def main(arguments: list[str] | None = None) -> None:
    """Find the U-Net-NAS that makes the most of a budget."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--max-parameters", type=float, required=True)
    parser.add_argument("--max-gmacs", type=float, required=True)
    parser.add_argument(
        "--exactly", action="store_true", help="exactly that many parameters, not at most"
    )
    parser.add_argument(
        "--channels", type=int, nargs="+", default=list(Family().channels), metavar="WIDTH"
    )
    parser.add_argument(
        "--any-bottom", action="store_true", help="the deepest level may go without a downsampler"
    )
    parser.add_argument(
        "--attended-levels",
        type=int,
        default=Family().attended_levels,
        help="levels, from the deepest, with at least one attention",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    found = search(
        Family(
            tuple(options.channels),
            any_bottom=options.any_bottom,
            attended_levels=options.attended_levels,
        ),
        Budget(int(options.max_parameters), options.max_gmacs, is_exact=options.exactly),
    )
    if found is None:
        parser.exit(1, "no member of the family keeps to this budget\n")
    if options.json:
        print(json.dumps(asdict(found)))
        return
    for name, value in found.configurations.items():
        print(f"{name:28} {value}")
    print(f"{found.parameters:,} parameters, {found.gmacs:.2f} GMAC, share {found.share:.4f}")


if __name__ == "__main__":
    main()
