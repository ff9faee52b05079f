"""Images: of a job with a key, or by a signed URL without one."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query
from starlette.responses import RedirectResponse, Response, StreamingResponse

from producer.api.context import Context, ContextOf, Reader
from producer.api.problems import NATIVE_ERRORS, not_found
from producer.api.tenancy import get_own_job, get_signed_job
from shared.clock import utc_now
from shared.db.tables import Job

router = APIRouter(tags=["images"], responses=NATIVE_ERRORS)

PNG = "image/png"
REDIRECT_LIFETIME = timedelta(minutes=15)
LATEST_EXPIRY = 2**40
IfNoneMatch = Annotated[str | None, Header(description="Answers 304 if it is this image.")]
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The image.",
        "content": {PNG: {"schema": {"type": "string", "format": "binary"}}},
    },
    304: {"description": "It is that image."},
    307: {"description": "Where the object storage has it, for some minutes."},
}


@router.get(
    "/api/jobs/{job_id}/image",
    summary="Get an image",
    response_class=StreamingResponse,
    responses=DOCUMENTED,
)
def get_image(
    context: ContextOf, who: Reader, job_id: UUID, if_none_match: IfNoneMatch = None
) -> Response:
    """Send a job's image, or to where object storage has it."""
    with context.database.read() as session:
        job = get_own_job(session, job_id, who)
    return _image(context, job, if_none_match)


@router.get(
    "/images/{job_id}.png",
    summary="Get an image by a signed URL",
    response_class=StreamingResponse,
    responses=DOCUMENTED,
)
def get_signed_image(
    context: ContextOf,
    job_id: UUID,
    expires: Annotated[int, Query(ge=0, le=LATEST_EXPIRY)],
    signature: Annotated[str, Query(max_length=128)],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Send the image that an answer named by this URL; no key is needed until it expires."""
    context.signer.check(job_id, expires, signature, utc_now())
    with context.database.read() as session:
        job = get_signed_job(session, job_id)
    return _image(context, job, if_none_match)


def _image(context: Context, job: Job, if_none_match: str | None) -> Response:
    if job.image_key is None:
        raise not_found(f"image of job {job.id} yet")
    headers = {"ETag": f'"{job.image_sha256}"', "Cache-Control": "private, max-age=86400"}
    if if_none_match is not None and headers["ETag"] in if_none_match:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if context.settings.redirect_images:
        elsewhere = context.store.url(job.image_key, REDIRECT_LIFETIME, PNG)
        if elsewhere is not None:
            return RedirectResponse(elsewhere, headers={"Cache-Control": "no-store"})
    blocks = context.store.blocks(job.image_key)
    if job.image_bytes is not None:
        headers["Content-Length"] = str(job.image_bytes)
    return StreamingResponse(blocks, headers=headers, media_type=PNG)
