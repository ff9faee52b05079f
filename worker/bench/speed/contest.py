"""A run: who is measured beside whom, in turn, so that each ratio is of one stretch of time.

Not all fit into memory at once. Whoever is compared is loaded together: first the models on one
backend, and then, model by model, each peer beside tenstep's first backend.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shared.db.outcomes import PhaseTimes
from shared.domain.quality import Quality
from shared.errors import TenstepError
from shared.models.card import ModelCard
from worker.bench.comparison import ModelTimes
from worker.bench.speed.contestants import Contestant, Setup
from worker.bench.speed.field import Entry, Name, open_contestant, prepare, why_not
from worker.bench.speed.machine import multiply_peak
from worker.bench.speed.ours import TenstepContestant
from worker.bench.speed.profile import Profile

SHORTENED: Name = "torch"
"""tenstep's backend that can leave out all that qualities leave out."""

Watch = Callable[[str, int], None]
"""Told what begins, and how many of `all_rounds` are done."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for."""

    cards: Sequence[ModelCard]
    side: int
    """Width and height of every image, in pixels."""
    chunks: Sequence[int]
    """Images drawn at once."""
    rounds: int
    backends: Sequence[Name]
    """tenstep's; peers are measured beside the first."""
    peers: Sequence[Name]
    threads: int
    """At least one."""
    whole: bool
    """Whether all steps of an image are taken."""
    qualities: Sequence[Quality]
    """At which tenstep's torch is measured; the first is exact."""
    profile: bool
    """Whether a step on tenstep's first backend, torch, is looked into."""

    def setup(self, entry: Entry, filter_bytes: int) -> Setup:
        """Return what an entry is to run."""
        return Setup(
            card=entry.card,
            side=self.side,
            chunk=entry.chunk,
            threads=self.threads,
            whole=self.whole,
            quality=entry.quality,
            filter_bytes=filter_bytes,
        )


@dataclass(frozen=True, slots=True)
class Contest:
    """Some who were loaded together and measured in turn."""

    times: dict[Entry, list[PhaseTimes]]
    """Of one image; a round each."""
    peak: list[float] = field(default_factory=list)
    """GFLOP/s of matrix products between them."""

    def times_of(self, entry: Entry) -> ModelTimes:
        """Return medians of an entry's rounds."""
        return ModelTimes(entry.card.sampler.evaluations, self.times[entry])


@dataclass(slots=True)
class Outcome:
    """Everything that was measured."""

    contests: list[Contest] = field(default_factory=list)
    settings: dict[Entry, str] = field(default_factory=dict)
    """Version and options of each entry that was loaded."""
    absent: dict[Entry, str] = field(default_factory=dict)
    """Why an entry was not measured."""
    profiles: dict[Entry, Profile] = field(default_factory=dict)
    """Where an entry's step goes, of those that were looked into."""


def contests_of(plan: Plan) -> list[list[Entry]]:
    """Return who is measured beside whom; whoever cannot take part is among them."""
    together: list[list[Entry]] = []
    for chunk in plan.chunks:
        own = [_own(plan, backend, chunk) for backend in plan.backends]
        compared = [entries for entries in own if len(entries) > 1]
        together += compared
        first, *others = plan.backends
        beside = [*others, *plan.peers]
        for card in plan.cards:
            ours = Entry(first, card, chunk)
            duels = [[ours, Entry(name, card, chunk)] for name in beside]
            together += duels or ([] if compared else [[ours]])
    return together


def _own(plan: Plan, backend: Name, chunk: int) -> list[Entry]:
    """Return all models on one of tenstep's backends, at all qualities that it is measured at."""
    qualities = plan.qualities if backend == SHORTENED else (Quality.EXACT,)
    return [Entry(backend, card, chunk, quality) for card in plan.cards for quality in qualities]


def all_rounds(plan: Plan) -> int:
    """Return how many rounds there will be at most."""
    return plan.rounds * sum(map(len, contests_of(plan)))


def run(plan: Plan, folder: Path, watch: Watch, filter_bytes: int) -> Outcome:
    """Measure all that is planned.

    Args:
        plan: what.
        folder: keeps graphs and weights for the length of the run.
        watch: told of the progress.
        filter_bytes: that each model's fused parts may take.

    Raises:
        TenstepError: tenstep itself cannot run a model.
    """
    measuring = _Run(plan, folder, watch, filter_bytes)
    measuring.prepare()
    for entries in contests_of(plan):
        measuring.hold(entries)
    return measuring.outcome


class _Run:
    def __init__(self, plan: Plan, folder: Path, watch: Watch, filter_bytes: int) -> None:
        self.outcome = Outcome()
        self._plan = plan
        self._folder = folder
        self._watch = watch
        self._filter_bytes = filter_bytes
        self._loaded: dict[Entry, Contestant] = {}
        self._done = 0

    def prepare(self) -> None:
        """Write the files of all who can take part."""
        entries = (entry for entries in contests_of(self._plan) for entry in entries)
        for entry in dict.fromkeys(entry.exactly for entry in entries):
            if reason := why_not(entry):
                self.outcome.absent[entry] = reason
                continue
            self._watch(f"preparing {entry.card.name}: {entry.title}", 0)
            with self._absent_if_it_fails(entry):
                prepare(entry, self._folder)

    def hold(self, entries: Sequence[Entry]) -> None:
        """Have a contest, unless all who could come to it were measured already."""
        able = [entry for entry in entries if entry not in self.outcome.absent]
        if any(not self._is_measured(entry) for entry in able) or able == [*entries]:
            self._load(able)
            there = [entry for entry in able if entry in self._loaded]
            self._take_rounds(there)
            self._look_into(there)
        self._done += self._plan.rounds * len(entries)

    def _is_measured(self, entry: Entry) -> bool:
        return any(entry in contest.times for contest in self.outcome.contests)

    def _load(self, entries: Sequence[Entry]) -> None:
        # Before others are loaded: two large models at once are as many as memory holds.
        for entry in [entry for entry in self._loaded if entry not in entries]:
            del self._loaded[entry]
        gc.collect()
        for entry in entries:
            if entry in self._loaded:
                continue
            self._watch(f"loading {entry.card.name}: {entry.title}", self._done)
            with self._absent_if_it_fails(entry):
                contestant = self._open(entry)
                contestant.warm()
                self._loaded[entry] = contestant
                self.outcome.settings[entry] = contestant.settings

    def _open(self, entry: Entry) -> Contestant:
        setup = self._plan.setup(entry, self._filter_bytes)
        exact = self._loaded.get(entry.exactly)
        if isinstance(exact, TenstepContestant):
            return exact.at(setup)
        return open_contestant(entry, setup, self._folder)

    def _take_rounds(self, entries: Sequence[Entry]) -> None:
        contest = Contest({entry: [] for entry in entries})
        self.outcome.contests.append(contest)
        for index in range(self._plan.rounds):
            contest.peak.extend(multiply_peak())
            for position, (entry, times) in enumerate(contest.times.items()):
                what = f"round {index + 1} of {self._plan.rounds}: {entry.card.name}, {entry.title}"
                self._watch(what, self._done + index * len(entries) + position)
                times.append(self._loaded[entry].round())

    def _look_into(self, entries: Sequence[Entry]) -> None:
        """Profile whom the plan wants profiled, after all rounds with him: it disturbs none."""
        for entry in entries:
            contestant = self._loaded[entry]
            is_wanted = self._plan.profile and entry.name == SHORTENED and entry == entry.exactly
            if is_wanted and isinstance(contestant, TenstepContestant):
                self._watch(f"profiling {entry.card.name}", self._done)
                self.outcome.profiles[entry] = contestant.profile()

    @contextmanager
    def _absent_if_it_fails(self, entry: Entry) -> Iterator[None]:
        """Note what a peer cannot do: it is a finding, and no end of the run."""
        try:
            yield
        except Exception as error:
            if entry.is_ours:
                raise
            self.outcome.absent[entry] = f"failed: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    if isinstance(error, TenstepError):
        return str(error)
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
