"""The tables, portable to SQLite and Postgres. Keys are UUIDv7: they sort by time."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, partial_index
from shared.db.cost_tables import ANY_SKU, NO_TEXT
from shared.domain.identifiers import new_id
from shared.domain.jobs import DEFAULT_TENANT, AttemptOutcome, BatchControl, JobState
from shared.domain.quality import Quality
from shared.domain.sampling import SchedulerName
from shared.telemetry.traces import TRACEPARENT_CHARACTERS


def _one_of(column: str, values: type[JobState | AttemptOutcome | BatchControl]) -> CheckConstraint:
    listed = ", ".join(f"'{value.value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


HAS_KEY = "key IS NOT NULL"
UNANNOUNCED = "end_announced_at IS NULL AND submitted_at IS NOT NULL"


class Batch(Base):
    """What a user submitted."""

    __tablename__ = "batch"
    __table_args__ = (
        _one_of("control", BatchControl),
        Index(
            "ix_batch_key",
            "tenant",
            "key",
            unique=True,
            sqlite_where=text(HAS_KEY),
            postgresql_where=text(HAS_KEY),
        ),
        partial_index("ix_batch_unannounced", "tenant", "id", condition=UNANNOUNCED),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(256))
    tenant: Mapped[str] = mapped_column(String(128), default=DEFAULT_TENANT)
    model: Mapped[str] = mapped_column(String(256))
    priority: Mapped[int] = mapped_column(default=0)
    control: Mapped[str] = mapped_column(String(16), default=BatchControl.ACTIVE)
    safety_checker: Mapped[bool] = mapped_column(default=True, server_default=true())
    """Whether images of a model that has a safety checker are looked at."""
    key: Mapped[str | None] = mapped_column(String(256))
    """Submitting the same key again is the same batch; a tenant's own."""
    total: Mapped[int] = mapped_column(default=0)
    """Jobs written so far: where an interrupted submission goes on."""
    submitted_at: Mapped[datetime | None]
    """When its last job was written; None while there are more to come."""
    client: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What the submitting program wants to remember; the queue does not read it."""
    tags: Mapped[dict[str, Any] | None]
    """What its costs can be grouped by, such as {"campaign": "spring"}."""
    max_nanodollars: Mapped[int | None]
    """What it may cost; then its other jobs are held."""
    quote: Mapped[dict[str, Any] | None]
    """What it was expected to cost when it was submitted."""
    images_per_pass: Mapped[int | None]
    """How many of its images are drawn at once, to measure that; None leaves it to the worker."""
    created_at: Mapped[datetime]
    deadline_at: Mapped[datetime | None]
    """When its owner wants it done: of batches of equal priority the earliest goes first."""
    end_announced_at: Mapped[datetime | None]
    """When webhooks were told that it has ended."""
    budget_announced_at: Mapped[datetime | None]
    """When they were told that its money is spent."""
    traceparent: Mapped[str | None] = mapped_column(String(TRACEPARENT_CHARACTERS))
    """Of the span of its submission, where that was traced: those of its chunks link to it."""
    details_dropped_at: Mapped[datetime | None]
    """When its jobs and attempts were removed, or that was begun: see `shared.db.details`."""


UNSENT = "state = 'pending' AND chunk_id IS NULL"
SENT = "state = 'pending' AND chunk_id IS NOT NULL"
IN_CHUNK = "chunk_id IS NOT NULL"
LEASED = "state = 'leased'"
DONE = "state = 'done'"
FAILED = "state = 'failed'"
HELD = "state = 'held'"
OVER_BUDGET = "held_for = 'budget'"
HAS_CUSTOM_ID = "custom_id IS NOT NULL"
REUSABLE = "fingerprint IS NOT NULL"


class Job(Base):
    """One image to render."""

    __tablename__ = "job"
    __table_args__ = (
        _one_of("state", JobState),
        UniqueConstraint("batch_id", "position"),
        partial_index("ix_job_unsent", "batch_id", "not_before", "position", condition=UNSENT),
        partial_index("ix_job_sent", "queue", "chunk_id", condition=SENT),
        partial_index("ix_job_chunk", "chunk_id", condition=IN_CHUNK),
        partial_index("ix_job_lease", "lease_expires_at", condition=LEASED),
        partial_index("ix_job_done", "batch_id", "finished_at", "position", condition=DONE),
        partial_index("ix_job_failed", "batch_id", "error_code", "position", condition=FAILED),
        partial_index("ix_job_held", "batch_id", "position", condition=HELD),
        partial_index("ix_job_over_budget", "batch_id", "position", condition=OVER_BUDGET),
        partial_index("ix_job_custom_id", "batch_id", "custom_id", condition=HAS_CUSTOM_ID),
        partial_index("ix_job_fingerprint", "fingerprint", condition=REUSABLE),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    batch_id: Mapped[UUID] = mapped_column(ForeignKey("batch.id", ondelete="CASCADE"))
    position: Mapped[int]
    custom_id: Mapped[str | None] = mapped_column(String(256))
    source_line: Mapped[int | None]
    prompt: Mapped[str] = mapped_column(Text)
    negative_prompt: Mapped[str] = mapped_column(Text, default="")
    seed: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    steps: Mapped[int]
    scheduler: Mapped[str] = mapped_column(String(32), server_default=SchedulerName.DPM_SOLVER)
    squeeze: Mapped[str | None] = mapped_column(String(16))
    guidance_scale: Mapped[float]
    guidance_rescale: Mapped[float]
    quality: Mapped[str] = mapped_column(
        String(16), default=Quality.EXACT, server_default=Quality.EXACT
    )
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """The caller's own fields of the prompt line."""

    state: Mapped[str] = mapped_column(String(16), default=JobState.PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    fencing_token: Mapped[int] = mapped_column(default=0)
    chunk_id: Mapped[UUID | None]
    queue: Mapped[str | None] = mapped_column(String(256))
    dispatched_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    worker_id: Mapped[UUID | None]
    lease_expires_at: Mapped[datetime | None]
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    """Hash of all that decides the image, once it is drawn."""
    reused_from: Mapped[UUID | None]
    """The job that drew the image, where it was drawn before."""
    image_key: Mapped[str | None] = mapped_column(String(512))
    image_sha256: Mapped[str | None] = mapped_column(String(64))
    image_bytes: Mapped[int | None]
    held_for: Mapped[str | None] = mapped_column(String(16))
    """What a held job waits for; None is an approval."""
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    finished_at: Mapped[datetime | None]


class JobCounts:
    """How many jobs of a batch are in each state, and what has been booked for them."""

    pending: Mapped[int] = mapped_column(default=0)
    leased: Mapped[int] = mapped_column(default=0)
    done: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    cancelled: Mapped[int] = mapped_column(default=0)
    held: Mapped[int] = mapped_column(default=0)
    nanodollars: Mapped[int] = mapped_column(default=0)
    image_bytes: Mapped[int] = mapped_column(default=0, server_default="0")
    """Of the images that were stored for it."""


class Tally(JobCounts, Base):
    """By how much one transaction changed a batch's counts. Appended, then folded.

    Of what it booked, a row has the sum of one kind, worker and day; the first row of a batch
    also has the moves of its jobs.
    """

    __tablename__ = "tally"
    __table_args__ = (
        Index("ix_tally_batch", "batch_id"),
        partial_index("ix_tally_worker", "worker_id", condition="kind IS NOT NULL"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    batch_id: Mapped[UUID]
    worker_id: Mapped[UUID | None]
    kind: Mapped[str | None] = mapped_column(String(32))
    """None where nothing was booked."""
    day: Mapped[date | None]
    entries: Mapped[int] = mapped_column(default=0, server_default="0")
    device_ns: Mapped[int] = mapped_column(default=0, server_default="0")
    least_nanodollars: Mapped[int | None]
    most_nanodollars: Mapped[int | None]


class BatchCount(JobCounts, Base):
    """The sum of a batch's tallies that were folded."""

    __tablename__ = "batch_count"

    batch_id: Mapped[UUID] = mapped_column(
        ForeignKey("batch.id", ondelete="CASCADE"), primary_key=True
    )


class Attempt(Base):
    """One try at one job by one worker. Durations are whole nanoseconds."""

    __tablename__ = "attempt"
    __table_args__ = (
        _one_of("outcome", AttemptOutcome),
        UniqueConstraint("job_id", "fencing_token"),
        Index("ix_attempt_batch", "batch_id", "claimed_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    batch_id: Mapped[UUID]
    number: Mapped[int]
    """How often the job had been claimed, this time included."""
    fencing_token: Mapped[int]
    chunk_id: Mapped[UUID | None]
    worker_id: Mapped[UUID]
    device_kind: Mapped[str] = mapped_column(String(64))
    device_name: Mapped[str] = mapped_column(String(256))
    outcome: Mapped[str] = mapped_column(String(16), default=AttemptOutcome.RUNNING)
    claimed_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    queue_wait_ns: Mapped[int | None]
    text_encode_ns: Mapped[int | None]
    denoise_ns: Mapped[int | None]
    decode_ns: Mapped[int | None]
    safety_check_ns: Mapped[int | None]
    png_encode_ns: Mapped[int | None]
    upload_ns: Mapped[int | None]
    device_ns: Mapped[int | None]
    """Device time in all: text encoder, denoiser, decoder and safety checker."""
    nanodollars_per_hour: Mapped[int | None]
    """The price in force when it was claimed."""
    cost_nanodollars: Mapped[int | None]
    record: Mapped[dict[str, Any] | None]
    """What drew it: model, weights, backend, precision, timesteps, version."""
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)


class Worker(Base):
    """One worker process, pinned to one device, from its start to its end."""

    __tablename__ = "worker"
    __table_args__ = (Index("ix_worker_heartbeat", "heartbeat_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    host: Mapped[str] = mapped_column(String(256))
    pid: Mapped[int]
    device: Mapped[str] = mapped_column(String(64))
    device_kind: Mapped[str] = mapped_column(String(64))
    device_sku: Mapped[str] = mapped_column(String(64), default=ANY_SKU, server_default=NO_TEXT)
    """What was bought, as the price book has it."""
    device_name: Mapped[str] = mapped_column(String(256))
    backend: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(256))
    queue: Mapped[str] = mapped_column(String(256))
    version: Mapped[str] = mapped_column(String(64))
    weights_sha256: Mapped[str | None] = mapped_column(String(64))
    """Hash of the weights that it draws with."""
    online_at: Mapped[datetime]
    """When its process began to hold the device: from then on it costs."""
    started_at: Mapped[datetime]
    """When it was ready."""
    heartbeat_at: Mapped[datetime]
    last_claim_at: Mapped[datetime | None]
    polled_at: Mapped[datetime | None]
    """When its queue was last polled, job or no job; a busy worker does not poll.

    One that was drained does not either: it notes when it was last ready to.
    """
    draining: Mapped[bool] = mapped_column(default=False)
    """Asked to give back what it has not begun and to take nothing more."""
    stopping_at: Mapped[datetime | None]
    """When its process was told to stop: it drains from then on, and cannot be resumed."""
    load_ns: Mapped[int]
    """How long its model took to load and warm up."""
    sizes: Mapped[list[list[int]] | None] = mapped_column(JSON(none_as_null=True))
    """Width and height of the only images that it can draw; None of one that draws any."""
    drawing_chunk_id: Mapped[UUID | None]
    """The chunk that is in its device, or was last."""
    drawing_since: Mapped[datetime | None]
    """When that went in."""
    stopped_at: Mapped[datetime | None]
    settled_until: Mapped[datetime | None]
    """Up to when all of its time is in the books, the idle time too."""
    settled_at: Mapped[datetime | None]
    """When that was seen to: entries that came later are not in the balance."""


class Leadership(Base):
    """Which of several processes does what only one may do."""

    __tablename__ = "leadership"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[UUID]
    expires_at: Mapped[datetime]


class Fit(Base):
    """How many images of a size a device was found to hold at once."""

    __tablename__ = "fit"

    model: Mapped[str] = mapped_column(String(256), primary_key=True)
    device_name: Mapped[str] = mapped_column(String(256), primary_key=True)
    width: Mapped[int] = mapped_column(primary_key=True)
    height: Mapped[int] = mapped_column(primary_key=True)
    images: Mapped[int]
    learned_at: Mapped[datetime | None]
    """When it was last found; None is long ago."""


class SetAside(Base):
    """A queue message that nobody could make sense of, kept for a person to look at."""

    __tablename__ = "set_aside"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    received_at: Mapped[datetime]
    worker_id: Mapped[UUID]
    reason: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
