"""Jobs, as programs see them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from producer.wire.document import BATCH_ID, JOB_ID, Document
from shared.domain.jobs import JobState


class JobLine(Document):
    """What fits on a line of a list of jobs."""

    job_id: UUID = Field(examples=[JOB_ID])
    position: int
    custom_id: str | None
    state: JobState
    prompt: str
    attempts: int
    error_code: str | None
    image_key: str | None
    image_url: str | None = Field(description="Needs no key, and expires.")
    cost_nanodollars: int
    cost_usd: str


class JobList(Document):
    """Some jobs of a batch, in order of position."""

    jobs: list[JobLine]
    next: int | None = Field(description="Give it as `after` for the next page.")
    is_partial: bool = Field(description="Whether there was more to look through than one look.")
    looked_through: tuple[int, int] | None


class JobDocument(Document):
    """All that is known of a job."""

    job_id: UUID = Field(examples=[JOB_ID])
    batch_id: UUID = Field(examples=[BATCH_ID])
    batch_name: str
    model: str
    position: int
    custom_id: str | None
    source_line: int | None
    prompt: str
    negative_prompt: str
    settings: dict[str, Any]
    details: dict[str, Any] = Field(description="The caller's own fields of the prompt line.")
    state: JobState
    attempts_counted: int
    image: dict[str, Any] | None
    image_url: str | None = Field(description="Needs no key, and expires.")
    reused_from: UUID | None
    error: dict[str, Any] | None
    why_waiting: str | None
    cost_nanodollars: int
    cost_usd: str
    attempts: list[dict[str, Any]] = Field(description="Worker, phases, cost and end of each try.")
    timeline: list[dict[str, Any]]
