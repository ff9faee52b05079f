"""OpenAI's files: what batches are made of, and what comes of them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import StreamingResponse

from producer.api.context import ContextOf, Operator, Reader, Submitter
from producer.api.native import files as native
from producer.api.native.new_batches import IdempotencyKey
from producer.api.openai.documents import FileDeleted, FileObject, FilePage
from producer.api.openai.ids import EXAMPLE_FILE, FILE, of_cursor, of_id, page, to_id
from producer.api.openai.multipart import FileForm
from producer.api.problems import OPENAI_ERRORS, ApiError
from producer.api.receiving import keep_file, receive_file
from producer.api.tenancy import get_own, newest
from producer.uploads import FileView
from shared.db.api_tables import StoredFile

router = APIRouter(prefix="/v1/files", tags=["openai"], responses=OPENAI_ERRORS)

BATCH = "batch"
PURPOSE = "purpose"
MAX_LISTED = 10_000
FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [PURPOSE, "file"],
                    "additionalProperties": False,
                    "properties": {
                        PURPOSE: {"type": "string", "enum": [BATCH]},
                        "file": {"type": "string", "format": "binary"},
                    },
                }
            }
        },
    }
}
FileId = Annotated[str, Path(examples=[EXAMPLE_FILE])]


@router.post("", summary="Upload a file", response_model=FileObject, openapi_extra=FORM)
async def post_openai_file(
    context: ContextOf, who: Submitter, request: Request, idempotency_key: IdempotencyKey = None
) -> dict[str, Any]:
    """Upload a file of any size up to the server's limit; it may be packed.

    The purpose must be "batch". It does not expire.
    """
    form = FileForm(request.headers.get("content-type"), frozenset({PURPOSE}))

    async def checked() -> Any:
        async for data in form.file_bytes(request.stream()):
            yield data
        purpose = form.fields.get(PURPOSE)
        if purpose != BATCH:
            said = "is missing" if purpose is None else 'must be "batch"'
            raise ApiError(HTTPStatus.BAD_REQUEST, f"purpose: {said}", param=PURPOSE)

    written = await receive_file(context.store, checked())
    file = await keep_file(
        context.services,
        written,
        tenant=who.tenant,
        name=str(form.file_name),
        purpose=BATCH,
        key=idempotency_key,
    )
    return _file_object(file)


@router.get("", summary="List files", response_model=FilePage)
def list_openai_files(
    context: ContextOf,
    who: Reader,
    after: Annotated[str | None, Query(examples=[EXAMPLE_FILE])] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 1_000,
    purpose: Annotated[str | None, Query(max_length=32, pattern="^[a-z_-]*$")] = None,
    order: Annotated[Literal["desc"] | None, Query()] = None,  # noqa: ARG001 - no other is known
) -> dict[str, Any]:
    """Return the newest files, newest first."""
    before = of_cursor(FILE, after)
    only = None if purpose is None else {PURPOSE: purpose}
    with context.database.read() as session:
        found = newest(session, StoredFile, who, limit + 1, before, only=only)
    return page([_file_object(FileView.of(file)) for file in found], limit)


@router.get("/{file_id}", summary="Look at a file", response_model=FileObject)
def get_openai_file(context: ContextOf, who: Reader, file_id: FileId) -> dict[str, Any]:
    """Return a file's name and size."""
    with context.database.read() as session:
        return _file_object(FileView.of(get_own(session, StoredFile, of_id(FILE, file_id), who)))


@router.get(
    "/{file_id}/content",
    summary="Get a file's bytes",
    response_class=StreamingResponse,
    responses=native.CONTENT,
)
def get_openai_content(context: ContextOf, who: Reader, file_id: FileId) -> StreamingResponse:
    """Send a file: as it was uploaded, or a batch's results as JSON lines."""
    return native.get_content(context, who, of_id(FILE, file_id))


@router.delete("/{file_id}", summary="Remove a file", response_model=FileDeleted)
def delete_openai_file(context: ContextOf, who: Operator, file_id: FileId) -> dict[str, Any]:
    """Remove a file; the batches that were made of it stay."""
    native.delete_file(context, who, of_id(FILE, file_id))
    return {"id": file_id, "object": "file", "deleted": True}


def _file_object(file: FileView) -> dict[str, Any]:
    return {
        "id": to_id(FILE, file.id),
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }
