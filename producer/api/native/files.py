"""Files of prompts: uploaded as they are, listed, fetched, removed."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from producer.api.context import ContextOf, Operator, Reader, Submitter
from producer.api.native.new_batches import PURPOSE, IdempotencyKey
from producer.api.problems import NATIVE_ERRORS
from producer.api.receiving import keep_file, receive_file
from producer.api.tenancy import get_own, newest
from producer.uploads import ANY_BYTES, FileView, remove_file
from producer.wire.files import FileList, FileOut
from shared.db.api_tables import StoredFile
from shared.domain.prompts import Label

router = APIRouter(prefix="/api/files", tags=["files"], responses=NATIVE_ERRORS)

MAX_LISTED = 500
BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY: dict[str, Any] = {"requestBody": {"required": True, "content": {ANY_BYTES: BINARY}}}
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "Its bytes.", "content": {ANY_BYTES: BINARY}}
}


@router.post(
    "",
    summary="Upload a file",
    status_code=HTTPStatus.CREATED,
    response_model=FileOut,
    openapi_extra=BODY,
)
async def post_file(
    context: ContextOf,
    who: Submitter,
    request: Request,
    name: Annotated[Label, Query(description="Its suffix tells how it is written.")],
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Upload the body as a file, of any size up to the server's limit; it may be packed."""
    written = await receive_file(context.store, request.stream())
    file = await keep_file(
        context.services,
        written,
        tenant=who.tenant,
        name=name,
        purpose=PURPOSE,
        key=idempotency_key,
    )
    return file.to_json()


@router.get("", summary="List files", response_model=FileList)
def list_files(
    context: ContextOf,
    who: Reader,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 50,
    before: UUID | None = None,
) -> dict[str, Any]:
    """Return the newest files, newest first; `next` begins the next page."""
    with context.database.read() as session:
        found = newest(session, StoredFile, who, limit + 1, before)
    files = [FileView.of(file).to_json() for file in found[:limit]]
    return {"files": files, "next": found[limit - 1].id if len(found) > limit else None}


@router.get("/{file_id}", summary="Look at a file", response_model=FileOut)
def get_file(context: ContextOf, who: Reader, file_id: UUID) -> dict[str, Any]:
    """Return a file's name, size and hash."""
    with context.database.read() as session:
        return FileView.of(get_own(session, StoredFile, file_id, who)).to_json()


@router.get(
    "/{file_id}/content",
    summary="Get a file's bytes",
    response_class=StreamingResponse,
    responses=CONTENT,
)
def get_content(context: ContextOf, who: Reader, file_id: UUID) -> StreamingResponse:
    """Send a file as it was uploaded."""
    with context.database.read() as session:
        file = get_own(session, StoredFile, file_id, who)
    headers = {"Content-Length": str(file.bytes), "ETag": f'"{file.sha256}"'}
    return StreamingResponse(
        context.store.blocks(file.object_key), headers=headers, media_type=ANY_BYTES
    )


@router.delete("/{file_id}", summary="Remove a file", status_code=HTTPStatus.NO_CONTENT)
def delete_file(context: ContextOf, who: Operator, file_id: UUID) -> Response:
    """Remove a file; the batches that were made of it stay."""
    with context.database.write() as session:
        key = remove_file(session, get_own(session, StoredFile, file_id, who, lock=True))
    context.store.delete(key)
    return Response(status_code=HTTPStatus.NO_CONTENT)
