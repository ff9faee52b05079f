"""One image: what was asked for, every try at it, what it cost."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from producer.api.context import ContextOf, Operator, Reader
from producer.api.native.changes import own_batch
from producer.api.problems import not_found
from producer.api.tenancy import get_own, get_own_job
from producer.attempt_phases import timed
from producer.control import cancel, retry
from producer.dashboard.pages import back_to, page
from producer.job_details import JobHistory
from producer.job_history import read_job
from producer.jobs import MAX_POSITION, JobFilter, list_jobs
from shared.db.details import require_details
from shared.db.tables import Batch

router = APIRouter()

AGAIN = ("seed", "width", "height", "steps", "squeeze", "scheduler", "guidance_scale", "quality")
"""Settings that "render again" begins with."""


@router.get("/batches/{batch_id}/jobs/{position}")
def find_job(
    request: Request,
    context: ContextOf,
    who: Reader,
    batch_id: UUID,
    position: Annotated[int, Path(ge=0, le=MAX_POSITION)],
) -> Response:
    """Send whoever asks for a batch's job by its position to the job."""
    with context.database.read() as session:
        require_details(get_own(session, Batch, batch_id, who))
        before = position - 1 if position else None
        found = list_jobs(session, batch_id, JobFilter(), before, 1).jobs
    if not found or found[0].position != position:
        raise not_found(f"job {position} in batch {batch_id}")
    return back_to(request, f"/jobs/{found[0].id}")


@router.get("/jobs/{job_id}")
def show_job(request: Request, context: ContextOf, who: Reader, job_id: UUID) -> Response:
    """Show all that is known of a job."""
    with context.database.read() as session:
        batch_id = get_own_job(session, job_id, who).batch_id
        total = get_own(session, Batch, batch_id, who).total
    job = read_job(context.database, context.settings, str(job_id), None)
    with context.database.read() as session:
        tries = timed(session, job.attempts)
    return page(request, "job.html", job=job, tries=tries, total=total, again=_again(job))


def _again(job: JobHistory) -> str:
    """Return the query of a form that asks for the same image, or for one that is a bit other."""
    settings = {name: job.settings[name] for name in AGAIN}
    asked = {
        "prompt": job.prompt,
        "negative_prompt": job.negative_prompt,
        "model": job.model,
        **settings,
    }
    return urlencode({name: value for name, value in asked.items() if value not in {None, ""}})


class JobDecision(StrEnum):
    """What an owner can have done with a job."""

    RETRY = "retry"
    """Of one that failed or that was called off."""
    CANCEL = "cancel"
    """Of one that is not drawn yet."""


@router.post("/jobs/{job_id}/{decision}")
def decide(
    request: Request, context: ContextOf, who: Operator, job_id: UUID, decision: JobDecision
) -> Response:
    """Do what a button says, and show the job again."""
    act = retry if decision is JobDecision.RETRY else cancel
    with context.database.write() as session:
        batch_id = get_own_job(session, job_id, who).batch_id
        batch = own_batch(session, batch_id, who)
        act(session, batch, [str(job_id)], context.database.now(session))
    context.feed.forget(batch_id)
    return back_to(request, f"/jobs/{job_id}")
