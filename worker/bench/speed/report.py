"""The figures of a run, for tables, programs and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import median
from typing import Any

from shared.domain.money import NANOSECONDS
from shared.domain.quality import Quality
from worker.bench.comparison import Gains, ModelTimes, compare
from worker.bench.speed.contest import Contest, Outcome, Plan
from worker.bench.speed.contestants import ENCODED, denoised_rows
from worker.bench.speed.field import Entry, Name
from worker.bench.speed.machine import Machine
from worker.bench.speed.profile import Part, Profile
from worker.models.measure import FLOPS_A_MAC, ComponentName, ComponentWork

RATIOS_NEED_NO_PRICE = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a model at a quality gains over the first one, exact, on one of tenstep's backends."""

    backend: Name
    chunk: int
    first: str
    second: str
    quality: Quality
    """Of the second."""
    gains: Gains
    second_image_ns: int


@dataclass(frozen=True, slots=True)
class Row:
    """One entry's medians over all contests that it was in."""

    entry: Entry
    settings: str
    times: ModelTimes
    gflops: dict[ComponentName, float]
    """Of multiply-accumulates of the direct algorithm, two operations each; without those of a
    denoiser whose steps are not all whole."""
    share_of_peak: float | None
    """Of the denoiser's, of matrix products in the same contests."""
    over_ours: Gains | None
    """What tenstep's first backend gains over it, measured beside it; None is that backend."""


class Report:
    """A run, its machine and its model's work."""

    def __init__(
        self,
        plan: Plan,
        outcome: Outcome,
        machine: Machine,
        works: Mapping[str, Sequence[ComponentWork]],
    ) -> None:
        """Put together what was measured.

        Args:
            plan: what was asked for.
            outcome: what came of it.
            machine: where.
            works: what each model computes for one row at the size, by the model's name.
        """
        self.plan = plan
        self.outcome = outcome
        self.machine = machine
        self._works = works

    @cached_property
    def peak(self) -> tuple[float, float, float]:
        """Median, least and most GFLOP/s of matrix products, over the run."""
        rates = [rate for contest in self.outcome.contests for rate in contest.peak]
        return median(rates), min(rates), max(rates)

    @cached_property
    def rows(self) -> Sequence[Row]:
        """Everybody who was measured, by chunk and model, tenstep first."""
        found = dict.fromkeys(entry for contest in self.outcome.contests for entry in contest.times)
        names = [card.name for card in self.plan.cards]
        ordered = sorted(
            found,
            key=lambda entry: (entry.chunk, names.index(entry.card.name), not entry.is_ours),
        )
        return [self._row(entry) for entry in ordered]

    @cached_property
    def comparisons(self) -> Sequence[Comparison]:
        """The first model beside all others, on each backend at each chunk size and quality."""
        return list(self._compared())

    @property
    def best(self) -> Comparison | None:
        """The second model over the first at the first chunk size, on the faster backend; exact."""
        chunk, (_, *others) = self.plan.chunks[0], self.plan.cards
        second = others[0].name if others else None
        wanted = (chunk, second, Quality.EXACT)
        rivals = [one for one in self.comparisons if (one.chunk, one.second, one.quality) == wanted]
        return min(rivals, key=lambda one: one.second_image_ns, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        best, plan = self.best, self.plan
        middle, least, most = self.peak
        return {
            "per_iteration_ratio": best and best.gains.speedup_per_iteration,
            "end_to_end_ratio": best and best.gains.speedup_end_to_end,
            "ratios_on": best and best.backend,
            "machine": {
                **asdict(self.machine),
                "matrix_multiply_gflops": {"median": middle, "least": least, "most": most},
            },
            "width": plan.side,
            "height": plan.side,
            "rounds": plan.rounds,
            "whole": plan.whole,
            "models": [
                {
                    "model": card.name,
                    "weights": card.weights,
                    "steps": card.sampler.evaluations,
                    "components": [asdict(work) for work in self._works[card.name]],
                }
                for card in plan.cards
            ],
            "comparisons": [
                {
                    "backend": one.backend,
                    "chunk": one.chunk,
                    "first": one.first,
                    "second": one.second,
                    "quality": one.quality.value,
                    "per_iteration_ratio": one.gains.speedup_per_iteration,
                    "end_to_end_ratio": one.gains.speedup_end_to_end,
                }
                for one in self.comparisons
            ],
            "results": [_row_json(row) for row in self.rows],
            "profiles": [
                {**_entry_json(entry), **_profile_json(profile, middle)}
                for entry, profile in self.outcome.profiles.items()
            ],
            "absent": [
                {**_entry_json(entry), "reason": reason}
                for entry, reason in self.outcome.absent.items()
            ],
        }

    def _row(self, entry: Entry) -> Row:
        contests = [contest for contest in self.outcome.contests if entry in contest.times]
        rounds = [times for contest in contests for times in contest.times[entry]]
        times = ModelTimes(entry.card.sampler.evaluations, rounds)
        gflops = self._gflops(entry, times)
        peak = median(rate for contest in contests for rate in contest.peak)
        return Row(
            entry,
            self.outcome.settings[entry],
            times,
            gflops,
            gflops["denoiser"] / peak if "denoiser" in gflops else None,
            self._over_ours(entry, contests),
        )

    def _gflops(self, entry: Entry, times: ModelTimes) -> dict[ComponentName, float]:
        taken: dict[ComponentName, tuple[int, int]] = {
            "text_encoder": (ENCODED, times.text_encode_ns),
            "denoiser": (denoised_rows(entry.card), times.iteration_ns),
            "vae_decoder": (1, times.decode_ns),
        }
        rates = {}
        for work in self._works[entry.card.name]:
            if work.component == "denoiser" and entry.quality is not Quality.EXACT:
                continue
            rows, ns = taken[work.component]
            flops = FLOPS_A_MAC * rows * (work.gmacs + work.attention_gmacs)
            rates[work.component] = flops * NANOSECONDS / max(1, ns)
        return rates

    def _over_ours(self, entry: Entry, contests: Sequence[Contest]) -> Gains | None:
        ours = Entry(self.plan.backends[0], entry.card, entry.chunk)
        if entry == ours:
            return None
        beside = next(contest for contest in contests if ours in contest.times)
        return compare(beside.times_of(entry), beside.times_of(ours), RATIOS_NEED_NO_PRICE)

    def _compared(self) -> Iterator[Comparison]:
        for contest in self.outcome.contests:
            first, *others = contest.times
            for other in others:
                if (other.card, other.quality) == (first.card, first.quality):
                    continue
                theirs = contest.times_of(other)
                gains = compare(contest.times_of(first), theirs, RATIOS_NEED_NO_PRICE)
                yield Comparison(
                    first.name,
                    first.chunk,
                    first.card.name,
                    other.card.name,
                    other.quality,
                    gains,
                    theirs.device_ns,
                )


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "model": entry.card.name,
        "runner": entry.name,
        "is_tenstep": entry.is_ours,
        "quality": entry.quality.value,
        "chunk": entry.chunk,
    }


def _row_json(row: Row) -> dict[str, Any]:
    times, gains = row.times, row.over_ours
    least, most = times.device_range_ns
    return {
        **_entry_json(row.entry),
        "settings": row.settings,
        "steps": times.steps,
        "text_encode_ns": times.text_encode_ns,
        "iteration_ns": times.iteration_ns,
        "decode_ns": times.decode_ns,
        "image_ns": times.device_ns,
        "fastest_image_ns": least,
        "slowest_image_ns": most,
        "gflops": row.gflops,
        "share_of_peak": row.share_of_peak,
        "tenstep_per_iteration_ratio": gains and gains.speedup_per_iteration,
        "tenstep_end_to_end_ratio": gains and gains.speedup_end_to_end,
        "rounds": [
            {
                "text_encode_ns": one.text_encode_ns,
                "denoise_ns": one.denoise_ns,
                "decode_ns": one.decode_ns,
            }
            for one in times.rounds
        ],
    }


def _profile_json(profile: Profile, peak: float) -> dict[str, Any]:
    return {
        "wall_ns": profile.wall_ns,
        "multiplying": _part_json(profile.multiplying, profile, peak),
        "parts": [
            {"part": str(part.kind), **_part_json(part, profile, peak)} for part in profile.parts
        ],
    }


def _part_json(part: Part, profile: Profile, peak: float) -> dict[str, Any]:
    return {
        "ns": part.ns,
        "share": part.ns / profile.wall_ns,
        "gflops": part.gflops,
        "share_of_peak": part.gflops and part.gflops / peak,
    }
