"""How far a batch is, as people and programs see it, be it read here or told by a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from producer.amounts import usd
from shared.domain.jobs import FINAL_STATES, BatchControl, JobState


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed jobs with the same error code."""

    code: str
    count: int
    example_position: int
    example_message: str

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        example = told["example"]
        return cls(told["code"], told["count"], example["position"], example["message"])

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "code": self.code,
            "count": self.count,
            "example": {"position": self.example_position, "message": self.example_message},
        }


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """What fits on a line of a list of batches."""

    id: UUID
    name: str
    model: str
    priority: int
    control: BatchControl
    created_at: datetime
    is_submitted: bool
    """Whether all of its jobs are written; until then there are more to come."""
    counts: Mapping[JobState, int]
    """Jobs by state; every state is a key."""
    cost_nanodollars: int | None = None
    """All that is booked for it; a server's list does not tell it."""
    intake: str | None = None
    """Of a batch of which no job is written yet: how it goes with its file, on a server."""
    details_dropped_at: datetime | None = None
    """When its jobs were removed, long after the last of them ended; the counts remain."""

    @property
    def total(self) -> int:
        """Jobs that are written so far."""
        return sum(self.counts.values())

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> BatchSummary:
        """Read what `to_json` wrote."""
        dropped = told.get("details_dropped_at")
        summary = cls(
            id=UUID(told["batch_id"]),
            name=told["name"],
            model=told["model"],
            priority=told["priority"],
            control=BatchControl(told["control"]),
            created_at=datetime.fromisoformat(told["created_at"]),
            is_submitted=told["submitted"],
            counts={state: told["counts"].get(state.value, 0) for state in JobState},
            details_dropped_at=None if dropped is None else datetime.fromisoformat(dropped),
        )
        is_told_apart = told["state"] != summary.state and not summary.total
        return replace(summary, intake=told["state"]) if is_told_apart else summary

    @property
    def unfinished(self) -> int:
        """Jobs that have not come to their end."""
        return sum(self.counts[state] for state in JobState if state not in FINAL_STATES)

    @property
    def is_finished(self) -> bool:
        """Whether every job has come to its end."""
        return self.is_submitted and not self.unfinished

    @property
    def state(self) -> str:
        """One word for it all."""
        if self.intake is not None:
            return self.intake
        if self.control is BatchControl.CANCELLED:
            return "cancelled"
        if self.is_finished:
            return "finished"
        if self.control is BatchControl.PAUSED:
            return "paused"
        if self.counts[JobState.HELD] and not (
            self.counts[JobState.PENDING] or self.counts[JobState.LEASED]
        ):
            return "held"
        return "working" if self.counts[JobState.LEASED] else "waiting"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "batch_id": str(self.id),
            "name": self.name,
            "model": self.model,
            "priority": self.priority,
            "state": self.state,
            "control": self.control.value,
            "created_at": self.created_at.isoformat(),
            "submitted": self.is_submitted,
            "total": self.total,
            "counts": {state.value: count for state, count in self.counts.items()},
            "details_dropped_at": self.details_dropped_at and self.details_dropped_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """One batch, seen at one moment."""

    summary: BatchSummary
    images_per_second: float | None
    """Over the last minute; of a finished batch, over its whole run."""
    eta_seconds: tuple[float, float] | None
    """Soonest and latest, as far as the rate can tell; None when it cannot."""
    cost_nanodollars: int
    failures: Sequence[FailureGroup]
    workers_alive: int
    """Workers that have the batch's model."""
    devices: Mapping[str, int]
    """Names of the devices that have a job of it in hand, and how many of each."""
    why_idle: str | None
    """Why an unfinished batch is in nobody's hands."""
    refused: Sequence[str] = ()
    """Why a server could not take it in."""

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        eta = told["eta_seconds"]
        return cls(
            summary=BatchSummary.from_json(told),
            images_per_second=told["images_per_second"],
            eta_seconds=None if eta is None else (eta[0], eta[1]),
            cost_nanodollars=told["cost_nanodollars"],
            failures=[FailureGroup.from_json(group) for group in told["failures"]],
            workers_alive=told["workers_alive"],
            devices=told["devices_at_work"],
            why_idle=told["why_idle"],
            refused=[error["message"] for error in told.get("errors", ())],
        )

    @property
    def ended(self) -> int:
        """Jobs that have come to their end."""
        return self.summary.total - self.summary.unfinished

    @property
    def done(self) -> int:
        """Images that are drawn."""
        return self.summary.counts[JobState.DONE]

    @property
    def failed(self) -> int:
        """Jobs that failed for good."""
        return self.summary.counts[JobState.FAILED]

    @property
    def is_finished(self) -> bool:
        """Whether every job has come to its end."""
        return self.summary.is_finished

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing more happens unless somebody decides about what is held."""
        counts = self.summary.counts
        under_way = counts[JobState.PENDING] + counts[JobState.LEASED]
        return self.summary.is_submitted and not under_way

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **self.summary.to_json(),
            "finished": self.is_finished,
            "images_per_second": self.images_per_second,
            "eta_seconds": list(self.eta_seconds) if self.eta_seconds else None,
            "cost_nanodollars": self.cost_nanodollars,
            "cost_usd": usd(self.cost_nanodollars),
            "failures": [group.to_json() for group in self.failures],
            "workers_alive": self.workers_alive,
            "devices_at_work": dict(self.devices),
            "why_idle": self.why_idle,
        }
