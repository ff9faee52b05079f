"""All that is known of one job: what it asks for, every try at it, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from producer.amounts import usd
from producer.named_jobs import find_job
from producer.waiting import why_waiting
from shared.db.engine import Database
from shared.db.tables import Attempt, Batch, Job, Worker
from shared.domain.jobs import AttemptOutcome, JobState
from shared.settings import Settings

NANOSECONDS_A_MILLISECOND = 1_000_000
NANOSECONDS_A_MICROSECOND = 1_000

PHASES = ("text_encode", "denoise", "decode", "safety_check", "png_encode", "upload")
"""In the order in which an image goes through them."""
SETTINGS = (
    *("seed", "width", "height", "scheduler", "steps", "squeeze"),
    *("guidance_scale", "guidance_rescale"),
)
REASONS = {
    AttemptOutcome.LOST: "its worker stopped renewing the lease",
    AttemptOutcome.RETURNED: "its worker gave it back before it was drawn",
    AttemptOutcome.CANCELLED: "it was called off under way",
}
"""Of outcomes that need no error message of their own."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something ended without an image."""

    code: str | None
    message: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class JobAttempt:
    """One try at a job by one worker. Durations are whole nanoseconds."""

    number: int
    outcome: AttemptOutcome
    worker_id: UUID
    host: str | None
    device: str | None
    """The worker's, such as ``cuda:0``."""
    device_kind: str
    device_name: str
    claimed_at: datetime
    finished_at: datetime | None
    queue_wait_ns: int | None
    phases: Mapping[str, int]
    """Those that were measured, in order."""
    device_ns: int | None
    cost_nanodollars: int | None
    nanodollars_per_hour: int | None
    reason: Failure | None
    """None while it runs, and when it gave the image."""
    record: Mapping[str, Any] | None
    """What drew it: model, weights, backend, precision, timesteps, version."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "number": self.number,
            "outcome": self.outcome.value,
            "worker": {
                "worker_id": str(self.worker_id),
                "host": self.host,
                "device": self.device,
                "device_kind": self.device_kind,
                "device_name": self.device_name,
            },
            "claimed_at": self.claimed_at.isoformat(),
            "finished_at": _iso(self.finished_at),
            "queue_wait_ms": _milliseconds(self.queue_wait_ns),
            "phases_ms": {name: _milliseconds(time) for name, time in self.phases.items()},
            "device_ms": _milliseconds(self.device_ns),
            "cost_nanodollars": self.cost_nanodollars,
            "cost_usd": None if self.cost_nanodollars is None else usd(self.cost_nanodollars),
            "nanodollars_per_hour": self.nanodollars_per_hour,
            "reason": self.reason.to_json() if self.reason else None,
            "record": self.record,
        }


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """Something that happened to a job."""

    at: datetime
    event: str
    """``submitted``, ``sent``, ``claimed``, an outcome of an attempt, or the job's last state."""
    attempt: int | None
    """Which attempt it was about."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"at": self.at.isoformat(), "event": self.event, "attempt": self.attempt}


@dataclass(frozen=True, slots=True)
class JobImage:
    """Where a job's image is in the store."""

    key: str
    sha256: str | None
    bytes: int | None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"key": self.key, "sha256": self.sha256, "bytes": self.bytes}


@dataclass(frozen=True, slots=True)
class JobHistory:
    """A job, seen at one moment."""

    id: UUID
    batch_id: UUID
    batch_name: str
    model: str
    position: int
    custom_id: str | None
    source_line: int | None
    prompt: str
    negative_prompt: str
    settings: Mapping[str, Any]
    details: Mapping[str, Any]
    """The caller's own fields of the prompt line."""
    state: JobState
    attempts_counted: int
    """Those that count against the limit; one that was returned does not."""
    image: JobImage | None
    reused_from: UUID | None
    error: Failure | None
    why_waiting: str | None
    """Why an unfinished job is in nobody's hands."""
    attempts: Sequence[JobAttempt]
    timeline: Sequence[TimelineEvent]

    @property
    def cost_nanodollars(self) -> int:
        """What all attempts have cost."""
        return sum(attempt.cost_nanodollars or 0 for attempt in self.attempts)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "job_id": str(self.id),
            "batch_id": str(self.batch_id),
            "batch_name": self.batch_name,
            "model": self.model,
            "position": self.position,
            "custom_id": self.custom_id,
            "source_line": self.source_line,
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt,
            "settings": dict(self.settings),
            "details": dict(self.details),
            "state": self.state.value,
            "attempts_counted": self.attempts_counted,
            "image": self.image.to_json() if self.image else None,
            "reused_from": str(self.reused_from) if self.reused_from else None,
            "error": self.error.to_json() if self.error else None,
            "why_waiting": self.why_waiting,
            "cost_nanodollars": self.cost_nanodollars,
            "cost_usd": usd(self.cost_nanodollars),
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "timeline": [event.to_json() for event in self.timeline],
        }


def read_job(
    database: Database, settings: Settings, reference: str, batch_reference: str | None
) -> JobHistory:
    """Look at a job by its id, or by its position or custom_id in a batch.

    Args:
        database: where it is.
        settings: how long a worker may be silent.
        reference: the job.
        batch_reference: id of its batch or the start of it; None is the newest.

    Raises:
        InputError: there is no such batch or job, or several are meant.
    """
    with database.read() as session:
        job = find_job(session, reference, batch_reference)
        batch = session.get_one(Batch, job.batch_id)
        why = why_waiting(session, batch, job, settings, database.now(session))
        return _history(batch, job, _attempts(session, job.id), why)


def _history(batch: Batch, job: Job, attempts: Sequence[JobAttempt], why: str | None) -> JobHistory:
    return JobHistory(
        id=job.id,
        batch_id=batch.id,
        batch_name=batch.name,
        model=batch.model,
        position=job.position,
        custom_id=job.custom_id,
        source_line=job.source_line,
        prompt=job.prompt,
        negative_prompt=job.negative_prompt,
        settings={name: getattr(job, name) for name in SETTINGS},
        details=job.details,
        state=JobState(job.state),
        attempts_counted=job.attempts,
        image=JobImage(job.image_key, job.image_sha256, job.image_bytes) if job.image_key else None,
        reused_from=job.reused_from,
        error=Failure(job.error_code, job.error_message or "") if job.error_code else None,
        why_waiting=why,
        attempts=attempts,
        timeline=list(_timeline(batch, job, attempts)),
    )


def _attempts(session: Session, job_id: UUID) -> Sequence[JobAttempt]:
    rows = session.execute(
        select(Attempt, Worker)
        .outerjoin(Worker, Worker.id == Attempt.worker_id)
        .where(Attempt.job_id == job_id)
        .order_by(Attempt.fencing_token)
    )
    return [_attempt(attempt, worker) for attempt, worker in rows]


def _attempt(attempt: Attempt, worker: Worker | None) -> JobAttempt:
    measured = {name: getattr(attempt, f"{name}_ns") for name in PHASES}
    return JobAttempt(
        number=attempt.number,
        outcome=AttemptOutcome(attempt.outcome),
        worker_id=attempt.worker_id,
        host=worker.host if worker else None,
        device=worker.device if worker else None,
        device_kind=attempt.device_kind,
        device_name=attempt.device_name,
        claimed_at=attempt.claimed_at,
        finished_at=attempt.finished_at,
        queue_wait_ns=attempt.queue_wait_ns,
        phases={name: time for name, time in measured.items() if time is not None},
        device_ns=attempt.device_ns,
        cost_nanodollars=attempt.cost_nanodollars,
        nanodollars_per_hour=attempt.nanodollars_per_hour,
        reason=_reason(attempt),
        record=attempt.record,
    )


def _reason(attempt: Attempt) -> Failure | None:
    outcome = AttemptOutcome(attempt.outcome)
    if outcome in {AttemptOutcome.RUNNING, AttemptOutcome.DONE}:
        return None
    message = attempt.error_message or REASONS.get(outcome, "")
    return Failure(attempt.error_code, message)


def _timeline(batch: Batch, job: Job, attempts: Sequence[JobAttempt]) -> Iterator[TimelineEvent]:
    yield TimelineEvent(batch.created_at, "submitted", None)
    for attempt in attempts:
        if attempt.queue_wait_ns is not None:
            waited = timedelta(microseconds=attempt.queue_wait_ns / NANOSECONDS_A_MICROSECOND)
            yield TimelineEvent(attempt.claimed_at - waited, "sent", attempt.number)
        yield TimelineEvent(attempt.claimed_at, "claimed", attempt.number)
        if attempt.finished_at is not None:
            yield TimelineEvent(attempt.finished_at, attempt.outcome.value, attempt.number)
    if job.state == JobState.PENDING and job.dispatched_at is not None:
        yield TimelineEvent(job.dispatched_at, "sent", None)
    if job.finished_at is not None and not _tells_its_end(job, attempts):
        yield TimelineEvent(job.finished_at, job.state, None)


def _tells_its_end(job: Job, attempts: Sequence[JobAttempt]) -> bool:
    """Tell whether the last attempt ended as the job did."""
    return bool(attempts) and (attempts[-1].outcome.value, attempts[-1].finished_at) == (
        job.state,
        job.finished_at,
    )


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _milliseconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / NANOSECONDS_A_MILLISECOND
