"""Batches, as programs see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from producer.wire.document import BATCH_ID, Document
from shared.domain.jobs import BatchControl, JobState


class FailureExample(Document):
    """One job of those that failed alike."""

    position: int
    message: str


class Failure(Document):
    """Failed jobs with the same error."""

    code: str = Field(examples=["out_of_memory"])
    count: int
    example: FailureExample


class BatchLine(Document):
    """What fits on a line of a list of batches."""

    batch_id: UUID = Field(examples=[BATCH_ID])
    name: str = Field(examples=["prompts.jsonl"])
    model: str = Field(examples=["emoji-64"])
    priority: int
    state: str = Field(
        examples=["working"],
        description="validating, waiting, working, paused, held, finished, cancelled or failed",
    )
    control: BatchControl
    created_at: datetime
    submitted: bool = Field(description="Whether all of its jobs are written.")
    total: int = Field(description="Jobs, which is images, that are written so far.")
    counts: dict[JobState, int] = Field(
        examples=[{"pending": 4, "leased": 1, "done": 3, "failed": 0, "cancelled": 0, "held": 0}],
        description="Jobs by state; they add up to the total.",
    )
    details_dropped_at: datetime | None = Field(
        default=None,
        description="When its jobs and images were removed; its counts and costs remain.",
    )


class RejectedCount(Document):
    """Lines of a file that were left out."""

    count: int


class BatchDocument(BatchLine):
    """One batch, seen at one moment."""

    tenant: str
    finished: bool = Field(description="Whether every job has come to its end.")
    images_per_second: float | None
    eta_seconds: tuple[float, float] | None = Field(description="Soonest and latest.")
    cost_nanodollars: int
    cost_usd: str = Field(examples=["0.000123456"])
    failures: list[Failure]
    workers_alive: int
    devices_at_work: dict[str, int]
    why_idle: str | None
    deadline_at: datetime | None
    max_cost_usd: str | None
    tags: dict[str, str]
    quote: dict[str, Any] | None = Field(
        description="What it was expected to cost when it was submitted."
    )
    rejected: RejectedCount
    errors: list[dict[str, Any]] = Field(description="Why it could not be taken in.")


class BatchList(Document):
    """The newest batches first."""

    batches: list[BatchLine]
    next: UUID | None = Field(description="Give it as `before` for the next page.")


class RejectedLineOut(Document):
    """One line that was left out."""

    line_number: int
    field: str | None
    reason: str
    raw: str


class RejectsOut(Document):
    """Lines that were left out of an inline batch: the first 20."""

    count: int
    first: list[RejectedLineOut]


class NewBatchOut(Document):
    """A batch that was taken in, or is being taken in."""

    batch_id: UUID = Field(examples=[BATCH_ID])
    state: str = Field(examples=["submitted"], description="submitted or validating")
    total: int | None = Field(description="Images; None while its file is being read.")
    was_there: int = Field(description="Images that the same request had written before.")
    reused: int = Field(description="Images that were there from before.")
    quote: dict[str, Any] | None
    rejected: RejectsOut | None


class Changed(Document):
    """What a decision came to."""

    batch_id: UUID = Field(examples=[BATCH_ID])
    jobs: int = Field(description="How many images it was about.")
