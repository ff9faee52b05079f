"""What the API answers, for its documentation and for the client: plain, typed documents."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shared.domain.access import Scope
from shared.domain.jobs import BatchControl, JobState

BATCH_ID = "0197f3a2-5c1e-7bb0-9f6e-1f2d3c4b5a69"
JOB_ID = "0197f3a2-5c20-7d11-8a4b-0a1b2c3d4e5f"


class Document(BaseModel):
    """Takes what a newer server adds."""

    model_config = ConfigDict(frozen=True, extra="allow")


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


class FileOut(Document):
    """A file without its bytes."""

    file_id: UUID
    name: str
    purpose: str
    bytes: int
    sha256: str
    created_at: int = Field(description="Seconds since 1970.")


class FileList(Document):
    """The newest files first."""

    files: list[FileOut]
    next: UUID | None = Field(description="Give it as `before` for the next page.")


class BillLineOut(Document):
    """What was spent on one thing."""

    kind: str = Field(examples=["render"])


class BillOut(Document):
    """What a batch cost; the lines add up to the total."""

    batch_id: UUID = Field(examples=[BATCH_ID])
    lines: list[BillLineOut]
    device_seconds: float
    idle_seconds: float
    total_nanodollars: int
    total_usd: str
    fully_loaded_nanodollars: int
    fully_loaded_usd: str
    per_image: dict[str, Any] | None
    prices: list[dict[str, Any]]
    quote: dict[str, Any] | None


class CostReportOut(Document):
    """What was spent, and on what."""

    by: str
    groups: list[dict[str, Any]]
    others: dict[str, Any] | None = Field(description="The groups after the limit, as one.")
    idle_for_nobody: dict[str, Any] | None
    groups_overlap: bool
    total: dict[str, Any]
    total_nanodollars: int
    total_usd: str
    waste: list[dict[str, Any]]


class QuotesOut(Document):
    """What prompts would cost."""

    model: str
    images: int
    shapes: list[dict[str, Any]]
    rejected: RejectsOut
    prices: list[dict[str, Any]]
    quotes: list[dict[str, Any]]


class WorkerOut(Document):
    """One worker process, pinned to one device."""

    worker_id: UUID
    alive: bool
    host: str
    pid: int
    device: str
    device_kind: str
    device_sku: str
    device_name: str
    backend: str
    model: str
    queue: str
    version: str
    draining: bool
    online_at: datetime
    started_at: datetime
    heartbeat_at: datetime
    last_claim_at: datetime | None
    stopped_at: datetime | None


class WorkerList(Document):
    """The newest workers first."""

    workers: list[WorkerOut]


class PriceBookOut(Document):
    """What devices and the object store cost."""

    prices: list[dict[str, Any]]
    store_rates: list[dict[str, Any]]
    declared_rates: list[dict[str, Any]]


class PriceChangesOut(Document):
    """What was put into the price book."""

    recorded: bool
    changes: list[dict[str, Any]]
    corrected: dict[str, Any]


class ModelOut(Document):
    """A model that batches can ask for."""

    name: str = Field(examples=["emoji-64"])
    title: str
    licence: str
    width: int
    height: int
    sampler: dict[str, Any]
    weights: str
    note: str | None
    is_default: bool
    workers_alive: int


class ModelList(Document):
    """The default first."""

    models: list[ModelOut]


class KeyOut(Document):
    """A key without its secret."""

    key_id: UUID
    tenant: str
    name: str
    scopes: list[Scope]
    ending: str = Field(description="The last characters of the secret.")
    requests_per_minute: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKeyOut(KeyOut):
    """A key with its secret, which is shown this once."""

    secret: str = Field(examples=["tsk_…"])


class KeyList(Document):
    """All keys, oldest first."""

    keys: list[KeyOut]


class Changed(Document):
    """What a decision came to."""

    batch_id: UUID = Field(examples=[BATCH_ID])
    jobs: int = Field(description="How many images it was about.")
