"""The search: does the proxy rank, and what lies on the front."""

from __future__ import annotations

from collections.abc import Sequence

from training.report.words import table
from training.search.agreement import Agreement
from training.search.members import short
from training.search.pareto import Found
from training.search.pareto import Report as Front
from training.search.rank import agreements
from training.search.ranking import Ranking


def ranking_tables(ranking: Ranking) -> str:
    """Return the members that were trained, and how well the proxy ranks them."""
    rows = [
        [
            short(one.member),
            f"{one.parameters / 1e6:.2f} M",
            f"{one.macs / 1e9:.3f}",
            f"{one.proxy.trained:.4f}",
            f"{one.trained.trained:.4f}",
            f"{one.trained.held_out:.4f}",
        ]
        for one in sorted(ranking.members, key=lambda one: one.trained.trained)
    ]
    headings = ["member", "parameters", "GMAC", "proxy", "trained by itself", "on held-out pairs"]
    correlations = [
        [name, f"{one.spearman:.2f} ({one.low:.2f} to {one.high:.2f})"]
        for name, one in agreements(ranking).items()
    ]
    return (
        table(headings, rows)
        + "\n"
        + table(["what ranks", "Spearman, 95 % interval"], correlations)
    )


def agreement_table(agreements: Sequence[Agreement]) -> str:
    """Return how well tables of parts tell the times of whole members, target by target."""
    headings = ["target", "members", "Pearson", "Spearman", "fitted, ms", "median error after it"]
    rows = []
    for one in agreements:
        scale, offset = one.fit
        rows.append(
            [
                one.target,
                str(len(one.members)),
                f"{one.pearson:.3f}",
                f"{one.spearman:.3f}",
                f"{scale:.2f} x + {offset:.1f}",
                f"{one.median_error(scale, offset):.1%}",
            ]
        )
    return table(headings, rows)


def front_table(front: Front) -> str:
    """Return the members between which one has to choose, and those that are marked."""
    rows = [[str(number), *_cells(one)] for number, one in enumerate(front.front, start=1)]
    rows += [[name, *_cells(one)] for name, one in front.marks.items()]
    time, quality = front.axes
    return table(["", "member", "parameters", "GMAC", time, quality], rows)


def _cells(one: Found) -> list[str]:
    return [
        short(one.member),
        f"{one.parameters / 1e6:.2f} M",
        f"{one.gmacs:.3f}",
        "" if one.latency_ms is None else f"{one.latency_ms:.2f}",
        f"{one.quality:.4f}",
    ]
