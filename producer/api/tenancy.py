"""The one place where rows are chosen for somebody: of a tenant's key, the tenant's alone.

No route makes a query of its own for batches, jobs, requests, files or webhooks; an
import-linter contract keeps SQLAlchemy out of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from producer.api.problems import not_found
from producer.keys import Principal
from shared.db.api_tables import BatchRequest, StoredFile, Webhook
from shared.db.tables import Batch, Job

Owned = TypeVar("Owned", Batch, BatchRequest, StoredFile, Webhook)


def visible(query: Select[Any], owned: type[Owned], who: Principal) -> Select[Any]:
    """Leave in a query what somebody may see."""
    return query if who.sees_all else query.where(owned.tenant == who.tenant)


def find_own(
    session: Session, owned: type[Owned], row_id: UUID, who: Principal, *, lock: bool = False
) -> Owned | None:
    """Return a row if somebody may see it.

    Args:
        session: reads.
        owned: which table.
        row_id: its key.
        who: asks.
        lock: keep others from changing it until the transaction ends.
    """
    query = visible(select(owned).where(owned.id == row_id), owned, who)
    found: Owned | None = session.scalar(query.with_for_update() if lock else query)
    return found


def get_own(
    session: Session, owned: type[Owned], row_id: UUID, who: Principal, *, lock: bool = False
) -> Owned:
    """Return a row that somebody may see; the arguments are those of `find_own`.

    Raises:
        ApiError: it is not there, or not theirs: 404.
    """
    found = find_own(session, owned, row_id, who, lock=lock)
    if found is None:
        raise not_found(f"{NAMES[owned]} {row_id}")
    return found


def get_own_job(session: Session, job_id: UUID, who: Principal) -> Job:
    """Return a job whose batch somebody may see.

    Raises:
        ApiError: it is not there, or not theirs: 404.
    """
    query = select(Job).join(Batch, Batch.id == Job.batch_id).where(Job.id == job_id)
    found: Job | None = session.scalar(visible(query, Batch, who))
    if found is None:
        raise not_found(f"job {job_id}")
    return found


def get_signed_job(session: Session, job_id: UUID) -> Job:
    """Return a job for whoever has a signed URL of its image.

    Raises:
        ApiError: it is not there: 404.
    """
    job = session.get(Job, job_id)
    if job is None:
        raise not_found(f"job {job_id}")
    return job


def newest(
    session: Session,
    owned: type[Owned],
    who: Principal,
    limit: int,
    before: UUID | None = None,
    *,
    only: Mapping[str, object] | None = None,
) -> Sequence[Owned]:
    """Return the newest rows that somebody may see, newest first.

    Args:
        session: reads.
        owned: which table.
        who: asks.
        limit: how many at most.
        before: leave out this one and all that are newer; None leaves out none.
        only: columns, and what they must be.
    """
    query = visible(select(owned), owned, who).order_by(owned.id.desc()).limit(limit)
    if before is not None:
        query = query.where(owned.id < before)
    for name, value in (only or {}).items():
        query = query.where(getattr(owned, name) == value)
    return session.scalars(query).all()


NAMES = {Batch: "batch", BatchRequest: "batch", StoredFile: "file", Webhook: "webhook"}
