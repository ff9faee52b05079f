"""What the latest attempts took, and how many jobs came in a chunk.

The books have every attempt and no sums of its phases: of ten million they cannot be added up
whenever somebody asks. So this is of the latest, found by their keys, which sort by time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import quantiles
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, Select, select, union_all
from sqlalchemy.orm import Session

from shared.db.tables import Attempt
from shared.domain.identifiers import first_id_of
from shared.domain.jobs import AttemptOutcome

LATEST = 1_000
"""Attempts that are looked at."""
EARLIER = 2_000
"""Further ones, claimed a minute ago: of a large fleet the latest are all under way."""
UNDER_WAY = timedelta(minutes=1)
PHASES = {
    "text_encode": Attempt.text_encode_ns,
    "denoise": Attempt.denoise_ns,
    "decode": Attempt.decode_ns,
    "safety_check": Attempt.safety_check_ns,
    "png_encode": Attempt.png_encode_ns,
    "upload": Attempt.upload_ns,
}
PERCENTILES = (50, 95)


class PhaseOf(NamedTuple):
    """A phase on devices of one kind."""

    device_kind: str
    phase: str
    percentile: int


@dataclass(frozen=True, slots=True)
class RecentAttempts:
    """Of attempts that ended in an image; nothing where there was none lately."""

    phase_ns: Mapping[PhaseOf, int]
    """Of an image."""
    chunk_jobs: Mapping[str, float]
    """Jobs of a chunk that was claimed, on average, by device kind."""


def read_recent_attempts(session: Session, now: datetime) -> RecentAttempts:
    """Look at the latest attempts; no more of them than 3,000 are read."""
    before = first_id_of(now - UNDER_WAY)
    latest = _latest(LATEST).where(Attempt.id >= before).subquery()
    earlier = _latest(EARLIER).where(Attempt.id < before).subquery()
    rows = session.execute(union_all(select(latest), select(earlier))).all()
    return RecentAttempts(_phases(rows), _chunks(rows))


def _latest(most: int) -> Select[Any]:
    columns: list[Any] = [Attempt.device_kind, Attempt.outcome, Attempt.chunk_id]
    columns += [column.label(name) for name, column in PHASES.items()]
    return select(*columns).order_by(Attempt.id.desc()).limit(most)


def _phases(rows: Sequence[Row[Any]]) -> Mapping[PhaseOf, int]:
    taken: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row in rows:
        if row.outcome == AttemptOutcome.DONE:
            for phase in PHASES:
                if (nanoseconds := getattr(row, phase)) is not None:
                    taken[row.device_kind, phase].append(nanoseconds)
    return {
        PhaseOf(kind, phase, percentile): _percentile(times, percentile)
        for (kind, phase), times in sorted(taken.items())
        for percentile in PERCENTILES
    }


def _percentile(times: Sequence[int], percentile: int) -> int:
    if len(times) == 1:
        return times[0]
    return int(quantiles(times, n=100, method="inclusive")[percentile - 1])


def _chunks(rows: Sequence[Row[Any]]) -> Mapping[str, float]:
    jobs: defaultdict[str, int] = defaultdict(int)
    chunks: defaultdict[str, set[UUID]] = defaultdict(set)
    for row in rows:
        if row.chunk_id is not None:
            jobs[row.device_kind] += 1
            chunks[row.device_kind].add(row.chunk_id)
    return {kind: count / len(chunks[kind]) for kind, count in sorted(jobs.items())}
