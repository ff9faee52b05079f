"""The jobs of a batch: listed, looked at, told whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import StreamingResponse

from producer.api.context import Context, ContextOf, Reader
from producer.api.problems import NATIVE_ERRORS, not_found
from producer.api.tenancy import find_own, get_own
from producer.job_history import read_job
from producer.jobs import MAX_POSITION, JobFilter, ListedJob, list_jobs
from producer.manifest.jobs import job_pages
from producer.manifest.lines import manifest_line
from producer.rejected_lines import rejects_key
from producer.wire.jobs import JobDocument, JobList
from shared.clock import utc_now
from shared.db.api_tables import BatchRequest
from shared.db.details import DetailsDroppedError, require_details
from shared.db.tables import Batch
from shared.domain.jobs import JobState
from shared.errors import InputError
from shared.storage.base import ObjectNotFoundError

router = APIRouter(prefix="/api/batches", tags=["jobs"], responses=NATIVE_ERRORS)

JSON_LINES = "application/x-ndjson"
MAX_LISTED = 500
MAX_NAME_CHARACTERS = 256
DOCUMENTED_LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A JSON object a line.",
        "content": {JSON_LINES: {"schema": {"type": "string"}}},
    }
}


class JobQuery(BaseModel):
    """Which jobs are wanted."""

    model_config = ConfigDict(extra="forbid")

    state: JobState | None = None
    error: str | None = Field(default=None, description="The code that it failed with.")
    text: str | None = Field(default=None, description="In its prompt or custom_id.")
    after: int | None = Field(
        default=None, ge=0, le=MAX_POSITION, description="Leave out all up to this position."
    )
    limit: int = Field(default=50, ge=1, le=MAX_LISTED)


@router.get("/{batch_id}/jobs", summary="List jobs", response_model=JobList)
def get_jobs(
    context: ContextOf,
    who: Reader,
    request: Request,
    batch_id: UUID,
    query: Annotated[JobQuery, Query()],
) -> dict[str, Any]:
    """Return jobs in order of position; `next` begins the next page.

    What no index knows is looked for in 5,000 positions at a time: then a page is partial.
    """
    only = JobFilter(state=query.state, error=query.error, text=query.text)
    with context.database.read() as session:
        require_details(get_own(session, Batch, batch_id, who))
        page = list_jobs(session, batch_id, only, query.after, query.limit)
    now = utc_now()
    listed = [{**job.to_json(), "image_url": _url(context, request, job, now)} for job in page.jobs]
    return {**replace(page, jobs=()).to_json(), "jobs": listed}


def _url(context: Context, request: Request, job: ListedJob, now: datetime) -> str | None:
    if job.image_key is None:
        return None
    return context.signer.url(context.base_url(request), job.id, now)


@router.get("/{batch_id}/jobs/{name:path}", summary="Look at a job", response_model=JobDocument)
def get_job(
    context: ContextOf,
    who: Reader,
    request: Request,
    batch_id: UUID,
    name: Annotated[str, Path(max_length=MAX_NAME_CHARACTERS)],
) -> dict[str, Any]:
    """Return all that is known of a job, by its custom_id or position: every try, every cost."""
    with context.database.read() as session:
        get_own(session, Batch, batch_id, who)
    try:
        job = read_job(context.database, context.settings, name, str(batch_id))
    except DetailsDroppedError:
        raise
    except InputError as error:
        raise not_found(f"job of that name in batch {batch_id}: {error.message}") from None
    url = context.signer.url(context.base_url(request), job.id, utc_now()) if job.image else None
    return {**job.to_json(), "image_url": url}


@router.get(
    "/{batch_id}/manifest",
    summary="Get the manifest",
    response_class=StreamingResponse,
    responses=DOCUMENTED_LINES,
)
def get_manifest(
    context: ContextOf, who: Reader, request: Request, batch_id: UUID
) -> StreamingResponse:
    """Return a line for every job, in order: what it asked for, what drew it, what it cost."""
    with context.database.read() as session:
        require_details(get_own(session, Batch, batch_id, who))
    lines = manifest_lines(context, context.base_url(request), batch_id)
    return StreamingResponse(lines, media_type=JSON_LINES)


def manifest_lines(context: Context, base_url: str, batch_id: UUID) -> Iterator[bytes]:
    """Yield the manifest of a batch, some lines at a time.

    Args:
        context: database, and who signs the images' URLs.
        base_url: what the client calls this server by.
        batch_id: whose; it is not checked who asks.
    """
    now = utc_now()
    for page in job_pages(context.database, batch_id):
        lines = []
        for facts in page:
            job = facts.job
            url = f'"{context.signer.url(base_url, job.id, now)}"' if job.image_key else "null"
            more = f',"job_id":"{job.id}","image_url":{url}}}\n'
            lines.append(manifest_line(facts, None)[:-1] + more.encode())
        yield b"".join(lines)


@router.get(
    "/{batch_id}/rejects",
    summary="Get the lines that were left out",
    response_class=StreamingResponse,
    responses=DOCUMENTED_LINES,
)
def get_rejects(context: ContextOf, who: Reader, batch_id: UUID) -> StreamingResponse:
    """Return a line for every line of the batch's file that was refused, with the reason."""
    with context.database.read() as session:
        if find_own(session, BatchRequest, batch_id, who) is None:
            get_own(session, Batch, batch_id, who)
    return StreamingResponse(reject_lines(context, batch_id), media_type=JSON_LINES)


def reject_lines(context: Context, batch_id: UUID) -> Iterator[bytes]:
    """Yield the lines of a batch that were left out; it is not checked who asks."""
    try:
        return context.store.blocks(rejects_key(batch_id))
    except ObjectNotFoundError:
        return iter(())
