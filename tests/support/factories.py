"""Rows for tests, with one sensible value for everything that a test does not care about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from shared.db.cost_tables import ANY_SKU, LedgerEntry, Price
from shared.db.outcomes import PhaseTimes, StoredImage
from shared.db.tables import Attempt, Batch, Job, Worker
from shared.db.tallies import note_new
from shared.domain.identifiers import new_id
from shared.domain.jobs import JobState

START = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
"""When every story of a test begins."""
DEVICE_KIND = "cpu"
NANODOLLARS_PER_HOUR = 40_000_000
LEASE = timedelta(seconds=30)
IMAGE = StoredImage(key="images/ab/abcd.png", sha256="ab" * 32, bytes=1_234)
TIMES = PhaseTimes(
    text_encode_ns=10_000_000,
    denoise_ns=900_000_000,
    decode_ns=90_000_000,
    png_encode_ns=5_000_000,
    upload_ns=7_000_000,
)
"""One second on the device, and 12 ms beside it."""


def add_price(
    session: Session,
    *,
    device_kind: str = DEVICE_KIND,
    nanodollars_per_hour: int = NANODOLLARS_PER_HOUR,
    effective_from: datetime = START - timedelta(days=1),
    sku: str = ANY_SKU,
) -> Price:
    """Set what an hour of a device costs."""
    price = Price(
        device_kind=device_kind,
        sku=sku,
        nanodollars_per_hour=nanodollars_per_hour,
        effective_from=effective_from,
        source="a test",
    )
    session.add(price)
    session.flush()
    return price


def add_worker(
    session: Session,
    *,
    device_kind: str = DEVICE_KIND,
    started_at: datetime = START,
    sku: str = ANY_SKU,
    device_name: str = "a device",
    sizes: list[list[int]] | None = None,
) -> Worker:
    """Add a worker that has just started; loading took it no time."""
    worker = Worker(
        host="host",
        pid=4242,
        device=device_kind,
        device_kind=device_kind,
        device_sku=sku,
        device_name=device_name,
        sizes=sizes,
        backend="torch",
        model="tiny",
        queue=f"{device_kind}.tiny",
        version="0",
        load_ns=0,
        online_at=started_at,
        started_at=started_at,
        heartbeat_at=started_at,
    )
    session.add(worker)
    session.flush()
    return worker


def add_batch(
    session: Session, *, jobs: int = 3, created_at: datetime = START, model: str = "tiny"
) -> Batch:
    """Add a batch of pending jobs that no chunk holds yet."""
    batch = Batch(
        name="a batch", model=model, total=jobs, created_at=created_at, submitted_at=created_at
    )
    session.add(batch)
    session.flush()
    session.add_all(new_job(batch.id, position) for position in range(jobs))
    note_new(session, batch.id, JobState.PENDING, jobs)
    session.flush()
    return batch


def new_job(batch_id: UUID, position: int) -> Job:
    """Make a pending job."""
    return Job(
        batch_id=batch_id,
        position=position,
        prompt=f"prompt {position}",
        seed=position,
        width=64,
        height=64,
        steps=10,
        guidance_scale=7.5,
        guidance_rescale=0.8,
    )


def dispatch(
    session: Session,
    batch_id: UUID,
    *,
    jobs: int | None = None,
    now: datetime = START,
    chunk_id: UUID | None = None,
) -> UUID:
    """Put the first pending jobs of a batch that no chunk holds in one; returns its id."""
    chunk_id = chunk_id or new_id()
    waiting = pending_jobs(session, batch_id)[:jobs]
    session.execute(
        update(Job)
        .where(Job.id.in_([job.id for job in waiting]))
        .values(chunk_id=chunk_id, queue="cpu.tiny", dispatched_at=now),
        execution_options={"synchronize_session": False},
    )
    session.expire_all()
    return chunk_id


def pending_jobs(session: Session, batch_id: UUID) -> Sequence[Job]:
    """Return the jobs of a batch that wait and that no chunk holds, in order."""
    return (
        session.query(Job)
        .where(Job.batch_id == batch_id, Job.state == JobState.PENDING, Job.chunk_id.is_(None))
        .order_by(Job.position)
        .all()
    )


def jobs_of(session: Session, batch_id: UUID) -> Sequence[Job]:
    """Return the jobs of a batch as the database has them, in order."""
    return (
        session.query(Job)
        .where(Job.batch_id == batch_id)
        .order_by(Job.position)
        .populate_existing()
        .all()
    )


def attempts_of(session: Session, batch_id: UUID) -> Sequence[Attempt]:
    """Return the attempts at the jobs of a batch as the database has them, oldest first."""
    return (
        session.query(Attempt)
        .where(Attempt.batch_id == batch_id)
        .order_by(Attempt.claimed_at, Attempt.id)
        .populate_existing()
        .all()
    )


def ledger_of(session: Session, batch_id: UUID) -> Sequence[LedgerEntry]:
    """Return the lines of the books about a batch, oldest first."""
    return (
        session.query(LedgerEntry)
        .where(LedgerEntry.batch_id == batch_id)
        .order_by(LedgerEntry.id)
        .all()
    )
