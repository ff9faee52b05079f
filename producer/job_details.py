"""All that is known of one job, read here or told by a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from producer.amounts import usd
from shared.domain.jobs import AttemptOutcome, JobState

MILLISECOND = 1_000_000
"""In nanoseconds."""
PHASES = ("text_encode", "denoise", "decode", "safety_check", "png_encode", "upload")
"""In the order in which an image goes through them."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something ended without an image."""

    code: str | None
    message: str

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(told["code"], told["message"])

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

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        worker = told["worker"]
        return cls(
            number=told["number"],
            outcome=AttemptOutcome(told["outcome"]),
            worker_id=UUID(worker["worker_id"]),
            host=worker["host"],
            device=worker["device"],
            device_kind=worker["device_kind"],
            device_name=worker["device_name"],
            claimed_at=datetime.fromisoformat(told["claimed_at"]),
            finished_at=_moment(told["finished_at"]),
            queue_wait_ns=_nanoseconds(told["queue_wait_ms"]),
            phases={name: round(time * MILLISECOND) for name, time in told["phases_ms"].items()},
            device_ns=_nanoseconds(told["device_ms"]),
            cost_nanodollars=told["cost_nanodollars"],
            nanodollars_per_hour=told["nanodollars_per_hour"],
            reason=None if told["reason"] is None else Failure.from_json(told["reason"]),
            record=told["record"],
        )

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

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(datetime.fromisoformat(told["at"]), told["event"], told["attempt"])

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"at": self.at.isoformat(), "event": self.event, "attempt": self.attempt}


@dataclass(frozen=True, slots=True)
class JobImage:
    """Where a job's image is in the store."""

    key: str
    sha256: str | None
    bytes: int | None

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(told["key"], told["sha256"], told["bytes"])

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

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        image, error, reused_from = told["image"], told["error"], told["reused_from"]
        same = ("batch_name", "model", "position", "custom_id", "source_line", "prompt")
        also = ("negative_prompt", "settings", "details", "attempts_counted", "why_waiting")
        return cls(
            id=UUID(told["job_id"]),
            batch_id=UUID(told["batch_id"]),
            **{name: told[name] for name in (*same, *also)},
            state=JobState(told["state"]),
            image=None if image is None else JobImage.from_json(image),
            reused_from=None if reused_from is None else UUID(reused_from),
            error=None if error is None else Failure.from_json(error),
            attempts=[JobAttempt.from_json(attempt) for attempt in told["attempts"]],
            timeline=[TimelineEvent.from_json(event) for event in told["timeline"]],
        )

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


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _milliseconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / MILLISECOND


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _nanoseconds(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds * MILLISECOND)
