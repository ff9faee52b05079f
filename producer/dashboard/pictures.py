"""A job's image, whole and small."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header
from starlette.responses import Response, StreamingResponse

from producer.api.context import Context, ContextOf, Reader
from producer.api.problems import not_found
from producer.api.tenancy import get_own_job
from producer.keys import Principal
from producer.thumbnails import read_thumbnail
from shared.thumbnail import CONTENT_TYPE

router = APIRouter(prefix="/jobs/{job_id}")

PNG = "image/png"
FOR_A_DAY = "private, max-age=86400, immutable"
IfNoneMatch = Annotated[str | None, Header()]


@router.get("/image.png")
def get_image(
    context: ContextOf, who: Reader, job_id: UUID, if_none_match: IfNoneMatch = None
) -> Response:
    """Send a job's image from wherever it is kept."""
    key, sha256 = _image_of(context, who, job_id)
    if _has(sha256, if_none_match):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=_headers(sha256))
    blocks = context.store.blocks(key)
    return StreamingResponse(blocks, headers=_headers(sha256), media_type=PNG)


@router.get("/thumbnail.webp")
def get_thumbnail(
    context: ContextOf, who: Reader, job_id: UUID, if_none_match: IfNoneMatch = None
) -> Response:
    """Send its thumbnail; pages name it by its content, so that a browser asks for it once."""
    key, sha256 = _image_of(context, who, job_id)
    if _has(sha256, if_none_match):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=_headers(sha256))
    thumbnail = read_thumbnail(context.store, key, sha256)
    return Response(thumbnail, headers=_headers(sha256), media_type=CONTENT_TYPE)


def _image_of(context: Context, who: Principal, job_id: UUID) -> tuple[str, str]:
    """Return the key and the SHA-256 of a job's image."""
    with context.database.read() as session:
        job = get_own_job(session, job_id, who)
    if job.image_key is None or job.image_sha256 is None:
        raise not_found(f"image of job {job_id} yet")
    return job.image_key, job.image_sha256


def _has(sha256: str, if_none_match: str | None) -> bool:
    """Tell whether a browser has the picture already."""
    return if_none_match is not None and sha256 in if_none_match


def _headers(sha256: str) -> dict[str, str]:
    return {"ETag": f'"{sha256}"', "Cache-Control": FOR_A_DAY}
