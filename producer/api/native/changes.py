"""What an owner may change about a batch."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from producer.api.context import Context, ContextOf, Operator
from producer.api.problems import NATIVE_ERRORS, ApiError
from producer.api.tenancy import find_own, get_own
from producer.batch_options import Dollars, Hours, Priority
from producer.batch_requests import cancel_request
from producer.budgets import set_batch_budget
from producer.control import approve, cancel, reject, retry
from producer.keys import Principal
from producer.wire.batches import Changed
from shared.db.api_tables import BatchRequest
from shared.db.batches import set_control
from shared.db.engine import Database
from shared.db.tables import Batch
from shared.domain.jobs import BatchControl
from shared.domain.money import parse_dollars
from shared.domain.prompts import Label
from shared.domain.requests import REQUEST_ENDS

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

router = APIRouter(prefix="/api/batches", tags=["batches"], responses=NATIVE_ERRORS)

MAX_JOBS_NAMED = 1_000
EXAMPLE: dict[str, Any] = {"control": "paused", "priority": 10, "max_cost_usd": "25.00"}


class BatchChange(BaseModel):
    """What is to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    control: BatchControl | None = Field(
        default=None, description="active resumes, paused pauses, cancelled calls it off for good."
    )
    priority: Priority | None = None
    max_cost_usd: Dollars | None = Field(default=None, description="null lifts the limit.")
    deadline_hours: Hours | None = Field(
        default=None, description="From now on; null is no deadline."
    )

    @model_validator(mode="after")
    def _says_something(self) -> BatchChange:
        for name in ("control", "priority"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null")
        return self


class SomeJobs(BaseModel):
    """Which jobs are meant."""

    model_config = ConfigDict(extra="forbid")

    jobs: Annotated[list[Label], Field(max_length=MAX_JOBS_NAMED)] = Field(
        default=[],
        description="By custom_id or position; none is all of the batch.",
        examples=[["my-own-id", "17"]],
    )


def change_batch(database: Database, batch_id: UUID, who: Principal, change: BatchChange) -> None:
    """Change a batch: all that is asked for or, after an error, nothing.

    Raises:
        ApiError: it is not there or not theirs, or its file is still being read.
        InputError: it was called off.
    """
    with database.write() as session:
        if change.control is BatchControl.CANCELLED and _calls_off_request(
            session, database, batch_id, who
        ):
            return
        batch = own_batch(session, batch_id, who)
        given = change.model_fields_set
        if "max_cost_usd" in given:
            most = change.max_cost_usd
            set_batch_budget(session, batch, None if most is None else parse_dollars(most))
        if change.priority is not None:
            batch.priority = change.priority
        if "deadline_hours" in given:
            hours = change.deadline_hours
            now = database.now(session)
            batch.deadline_at = None if hours is None else now + timedelta(hours=hours)
        session.flush()
        if change.control is BatchControl.CANCELLED:
            cancel(session, batch, [], database.now(session))
        elif change.control is not None:
            set_control(session, batch, change.control)


def _calls_off_request(
    session: Session, database: Database, batch_id: UUID, who: Principal
) -> bool:
    """Have the clerk call off what it still has to do with; False if that is nothing."""
    request = find_own(session, BatchRequest, batch_id, who, lock=True)
    if request is None or request.state in REQUEST_ENDS:
        return False
    cancel_request(session, request, database.now(session))
    return True


def own_batch(session: Session, batch_id: UUID, who: Principal) -> Batch:
    """Return a batch that somebody may see.

    Raises:
        ApiError: it is not there or not theirs, or its file is still being read.
    """
    batch = find_own(session, Batch, batch_id, who)
    if batch is None:
        get_own(session, BatchRequest, batch_id, who)
        raise ApiError(
            HTTPStatus.CONFLICT,
            "nothing of this batch is written yet: its file is being read",
            hint="Try again in a while.",
        )
    return batch


@router.post("/{batch_id}/cancel", summary="Call off a batch or some of its jobs")
def cancel_jobs(context: ContextOf, who: Operator, batch_id: UUID, some: SomeJobs) -> Changed:
    """Call off what is not drawn yet, for good. Images that are drawn stay."""
    with context.database.write() as session:
        database = context.database
        if not some.jobs and _calls_off_request(session, database, batch_id, who):
            return _changed(context, batch_id, 0)
        batch = own_batch(session, batch_id, who)
        count = cancel(session, batch, some.jobs, database.now(session))
    return _changed(context, batch_id, count)


@router.post("/{batch_id}/retry", summary="Try jobs again")
def retry_jobs(context: ContextOf, who: Operator, batch_id: UUID, some: SomeJobs) -> Changed:
    """Try every failed job again, or some that failed or that were called off."""
    with context.database.write() as session:
        batch = own_batch(session, batch_id, who)
        count = retry(session, batch, some.jobs, context.database.now(session))
    return _changed(context, batch_id, count)


@router.post("/{batch_id}/approve", summary="Have what is held drawn")
def approve_held(context: ContextOf, who: Operator, batch_id: UUID) -> Changed:
    """Have all jobs that wait for approval drawn."""
    with context.database.read() as session:
        own_batch(session, batch_id, who)
    return _changed(context, batch_id, approve(context.database, batch_id))


@router.post("/{batch_id}/reject", summary="Call off what is held")
def reject_held(context: ContextOf, who: Operator, batch_id: UUID) -> Changed:
    """Call off all jobs that wait for approval."""
    with context.database.read() as session:
        own_batch(session, batch_id, who)
    return _changed(context, batch_id, reject(context.database, batch_id))


def _changed(context: Context, batch_id: UUID, jobs: int) -> Changed:
    context.feed.forget(batch_id)
    return Changed(batch_id=batch_id, jobs=jobs)
