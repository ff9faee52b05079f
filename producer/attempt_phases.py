"""How the time of an attempt at a job was spent, from its dispatch to its image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from producer.job_details import JobAttempt
from shared.db.tables import Worker

NANOSECONDS_A_MICROSECOND = 1_000
WAIT = "wait"
LOAD = "load"


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of it."""

    name: str
    nanoseconds: int


@dataclass(frozen=True, slots=True)
class TimedAttempt:
    """An attempt with its phases, in order."""

    attempt: JobAttempt
    phases: Sequence[Phase]

    @property
    def nanoseconds(self) -> int:
        """All of them together."""
        return sum(phase.nanoseconds for phase in self.phases)


def timed(session: Session, attempts: Sequence[JobAttempt]) -> Sequence[TimedAttempt]:
    """Put attempts beside how long each of their phases took.

    What a job waited while its worker was starting and loading the model is `load`.
    """
    started = session.execute(
        select(Worker.id, Worker.online_at, Worker.started_at).where(
            Worker.id.in_({attempt.worker_id for attempt in attempts})
        )
    )
    loading = {worker_id: (begin, end) for worker_id, begin, end in started}
    return [
        TimedAttempt(attempt, list(_phases(attempt, loading.get(attempt.worker_id))))
        for attempt in attempts
    ]


def _phases(attempt: JobAttempt, loading: tuple[datetime, datetime] | None) -> Iterator[Phase]:
    if attempt.queue_wait_ns is not None:
        load = 0 if loading is None else _overlap(attempt, attempt.queue_wait_ns, *loading)
        yield Phase(WAIT, attempt.queue_wait_ns - load)
        if load:
            yield Phase(LOAD, load)
    for name, nanoseconds in attempt.phases.items():
        yield Phase(name, nanoseconds)


def _overlap(attempt: JobAttempt, wait_ns: int, begin: datetime, end: datetime) -> int:
    """Return how much of an attempt's wait its worker spent loading, in nanoseconds."""
    sent = attempt.claimed_at - timedelta(microseconds=wait_ns / NANOSECONDS_A_MICROSECOND)
    both = min(end, attempt.claimed_at) - max(begin, sent)
    overlap = round(both / timedelta(microseconds=1)) * NANOSECONDS_A_MICROSECOND
    return min(max(overlap, 0), wait_ns)
