"""Batches that are asked for over HTTP: written down at once, taken in by the clerk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, union_all, update
from sqlalchemy.orm import Session

from producer.batch_options import BatchOptions
from producer.prompt_format import PromptFormat
from producer.submit import ConflictError
from shared.db.api_tables import BatchRequest
from shared.db.batches import cancel_batch
from shared.db.tables import Batch, BatchCount, Tally
from shared.domain.jobs import BatchControl
from shared.domain.requests import REQUEST_ENDS, RequestState
from shared.errors import InputError
from shared.settings import Settings


class LimitReachedError(InputError):
    """A tenant has too much open; later there may be room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody asks for."""

    tenant: str
    input_file_id: UUID
    prompt_format: PromptFormat | None
    """None tells it by the file's name, or by how it begins."""
    options: BatchOptions
    key: str | None = None
    """Idempotency key: the same is the same batch."""
    request_sha256: str | None = None
    """Of all that is asked; with a key, it must be the same each time."""
    endpoint: str | None = None
    completion_window: str | None = None
    window: timedelta | None = None
    """How long that is."""
    client_metadata: Mapping[str, Any] | None = None
    base_url: str | None = None
    """What the client calls the server by."""
    traceparent: str | None = None
    """Of the client's span."""


def ask(session: Session, settings: Settings, asked: Asked, now: datetime) -> BatchRequest:
    """Write down what is asked for, or return what was asked for with the same key.

    Raises:
        ConflictError: something else was asked for with that key.
        LimitReachedError: the tenant has too many open batches, or jobs.
    """
    before = None if asked.key is None else find_request(session, asked.tenant, asked.key)
    if before is not None:
        if before.request_sha256 != asked.request_sha256:
            raise ConflictError("this idempotency key was used for another request")
        return before
    check_limits(session, settings, asked.tenant)
    request = BatchRequest(
        tenant=asked.tenant,
        key=asked.key,
        request_sha256=asked.request_sha256,
        input_file_id=asked.input_file_id,
        prompt_format=asked.prompt_format and asked.prompt_format.value,
        options=asked.options.model_dump(mode="json"),
        endpoint=asked.endpoint,
        completion_window=asked.completion_window,
        client_metadata=None if asked.client_metadata is None else dict(asked.client_metadata),
        base_url=asked.base_url,
        traceparent=asked.traceparent,
        state=RequestState.VALIDATING,
        created_at=now,
        expires_at=None if asked.window is None else now + asked.window,
    )
    session.add(request)
    session.flush()
    return request


def total_of(session: Session, request: BatchRequest) -> int | None:
    """Return how many images were written for a request, or None while its file is read."""
    if request.state == RequestState.VALIDATING:
        return None
    batch = session.get(Batch, request.id)
    return 0 if batch is None else batch.total


def find_request(session: Session, tenant: str, key: str) -> BatchRequest | None:
    """Return what a tenant asked for with an idempotency key."""
    same = select(BatchRequest).where(BatchRequest.tenant == tenant, BatchRequest.key == key)
    return session.scalar(same)


def check_room(session: Session, settings: Settings, tenant: str, key: str | None) -> None:
    """Make sure that a tenant may ask for more; for what it asked for before it may ask again.

    Args:
        session: reads.
        settings: the limits.
        tenant: whose.
        key: idempotency key of what it asks for.

    Raises:
        LimitReachedError: it has too many open batches, or jobs.
    """
    if key is None or find_request(session, tenant, key) is None:
        check_limits(session, settings, tenant)


def check_limits(session: Session, settings: Settings, tenant: str) -> None:
    """Make sure that a tenant may ask for more.

    Raises:
        LimitReachedError: it has too many open batches, or jobs.
    """
    waiting = select(func.count()).where(
        BatchRequest.tenant == tenant,
        BatchRequest.state == RequestState.VALIDATING,
        BatchRequest.ended_at.is_(None),
    )
    batches, jobs = open_work(session, tenant)
    batches += session.scalar(waiting) or 0
    if batches >= settings.max_open_batches:
        raise LimitReachedError(
            f"{batches:,} batches are open, and more than {settings.max_open_batches:,} may not be",
            hint="Wait for some to end.",
        )
    if jobs >= settings.max_open_jobs:
        raise LimitReachedError(
            f"{jobs:,} images are still to be drawn, and more than {settings.max_open_jobs:,} "
            "may not be",
            hint="Wait for some to be drawn.",
        )


def open_work(session: Session, tenant: str) -> tuple[int, int]:
    """Count the batches of a tenant that are not drawn, and the images that are to be drawn."""
    parts = union_all(
        *(
            select(table.batch_id, (table.pending + table.leased + table.held).label("jobs"))
            .join(Batch, Batch.id == table.batch_id)
            .where(Batch.tenant == tenant)
            for table in (BatchCount, Tally)
        )
    ).subquery()
    jobs = func.sum(parts.c.jobs)
    open_ones = select(jobs.label("jobs")).group_by(parts.c.batch_id).having(jobs > 0).subquery()
    counted = select(func.count(), func.sum(open_ones.c.jobs)).select_from(open_ones)
    batches, images = session.execute(counted).one()
    return int(batches), int(images or 0)


def cancel_request(session: Session, request: BatchRequest, now: datetime) -> None:
    """Have a batch called off; the clerk does it, for that may take a while.

    Raises:
        InputError: it has ended already.
    """
    if request.state in REQUEST_ENDS:
        raise InputError(f"batch {request.id} is {request.state} already")
    if request.state != RequestState.FINALIZING:
        request.state = RequestState.CANCELLING
        request.cancelling_at = request.cancelling_at or now
        # Whoever is still reading its file stops, and nothing more of it is dispatched.
        session.execute(
            update(Batch).where(Batch.id == request.id).values(control=BatchControl.CANCELLED),
            execution_options={"synchronize_session": False},
        )
    session.flush()


def call_off(session: Session, request: BatchRequest, now: datetime) -> int:
    """Call off what is not drawn of a batch that was asked for; returns how many images."""
    batch = session.get(Batch, request.id)
    if batch is None:
        return 0
    cancelled = cancel_batch(session, batch, now)
    batch.submitted_at = batch.submitted_at or now
    return cancelled
