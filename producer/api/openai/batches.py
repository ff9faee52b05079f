"""OpenAI's batches: made of an uploaded file, looked at, cancelled."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from producer.api.context import Context, ContextOf, Operator, Reader, Submitter
from producer.api.document import json_body
from producer.api.native.new_batches import IdempotencyKey
from producer.api.openai.documents import BatchObject, BatchPage
from producer.api.openai.ids import (
    BATCH,
    EXAMPLE_BATCH,
    EXAMPLE_FILE,
    FILE,
    of_cursor,
    of_id,
    page,
    to_id,
)
from producer.api.problems import OPENAI_ERRORS, ApiError, not_found, parsed
from producer.api.tenancy import get_own, newest
from producer.batch_options import BatchOptions
from producer.batch_requests import Asked, ask, cancel_request
from producer.inline_batches import fingerprint
from producer.keys import Principal
from producer.openai_batches import batch_objects, first_model, window_of
from producer.prompt_format import PromptFormat
from producer.prompt_openai import ENDPOINT
from producer.uploads import FileView
from shared.db.api_tables import BatchRequest, StoredFile
from shared.errors import ConfigurationError
from shared.telemetry.traces import TRACEPARENT, valid_traceparent

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

router = APIRouter(prefix="/v1/batches", tags=["openai"], responses=OPENAI_ERRORS)

MAX_LISTED = 100
MAX_METADATA = 16
MAX_BASE_URL = 512
WITHOUT_NUL = r"^[^\x00]*$"
EXAMPLE: dict[str, Any] = {
    "input_file_id": EXAMPLE_FILE,
    "endpoint": ENDPOINT,
    "completion_window": "24h",
    "metadata": {"campaign": "spring"},
}
BatchId = Annotated[str, Path(examples=[EXAMPLE_BATCH])]


class NewOpenAIBatch(BaseModel):
    """A batch of the requests in a file; what is not named here is ignored."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [EXAMPLE]})

    input_file_id: Annotated[str, Field(max_length=64)]
    endpoint: Literal["/v1/images/generations"]
    completion_window: Annotated[str, Field(max_length=8)] = Field(
        description="Hours or days, 30d at most; what is not drawn by then is called off.",
        examples=["24h", "7d"],
    )
    metadata: (
        Annotated[
            dict[
                Annotated[str, Field(max_length=64, pattern=WITHOUT_NUL)],
                Annotated[str, Field(max_length=512, pattern=WITHOUT_NUL)],
            ],
            Field(max_length=MAX_METADATA),
        ]
        | None
    ) = None


@router.post(
    "",
    summary="Submit a batch",
    response_model=BatchObject,
    openapi_extra=json_body(NewOpenAIBatch),
)
async def post_openai_batch(
    context: ContextOf, who: Submitter, request: Request, idempotency_key: IdempotencyKey = None
) -> dict[str, Any]:
    """Submit a file of requests, a JSON object a line; all must be for the same model.

    Lines that cannot be drawn are left out, and told in the file of errors.
    """
    new = parsed(NewOpenAIBatch, await request.body())
    traceparent = valid_traceparent(request.headers.get(TRACEPARENT))
    base_url = context.base_url(request)
    return await run_sync(_submitted, context, who, new, base_url, idempotency_key, traceparent)


def _submitted(
    context: Context,
    who: Principal,
    new: NewOpenAIBatch,
    base_url: str,
    key: str | None,
    traceparent: str | None,
) -> dict[str, Any]:
    window = window_of(new.completion_window)
    if len(base_url) > MAX_BASE_URL:
        raise ApiError(HTTPStatus.BAD_REQUEST, "the server's name in this request is too long")
    with context.database.read() as session:
        file = FileView.of(_input_file(session, new.input_file_id, who))
    options = BatchOptions(
        name=file.name,
        model=_model(context, file),
        deadline_hours=window.total_seconds() / 3600,
    )
    asked = Asked(
        tenant=who.tenant,
        input_file_id=file.id,
        prompt_format=PromptFormat.OPENAI,
        options=options,
        key=key,
        request_sha256=fingerprint(new.model_dump()),
        endpoint=new.endpoint,
        completion_window=new.completion_window,
        window=window,
        client_metadata=new.metadata,
        base_url=base_url,
        traceparent=traceparent,
    )
    with context.database.write() as session:
        now = context.database.now(session)
        return _object(session, ask(session, context.settings, asked, now))


def _input_file(session: Session, text: str, who: Principal) -> StoredFile:
    try:
        return get_own(session, StoredFile, of_id(FILE, text), who)
    except ApiError as error:
        raise ApiError(
            HTTPStatus.BAD_REQUEST, f"input_file_id: {error.message}", param="input_file_id"
        ) from None


def _model(context: Context, file: FileView) -> str:
    named = first_model(context.store, file)
    try:
        return BatchOptions(model=named).card(context.settings).name
    except (ConfigurationError, ValueError):
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            f"the first line of the file asks for the model {str(named)[:64]!r}, and there is none",
            param="model",
            code="model_not_found",
        ) from None


@router.get("", summary="List batches", response_model=BatchPage)
def list_openai_batches(
    context: ContextOf,
    who: Reader,
    after: Annotated[str | None, Query(examples=[EXAMPLE_BATCH])] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 20,
) -> dict[str, Any]:
    """Return the newest batches that were submitted here, newest first."""
    before = of_cursor(BATCH, after)
    with context.database.read() as session:
        found = newest(session, BatchRequest, who, limit + 1, before, only={"endpoint": ENDPOINT})
        return page([_with_ids(one) for one in batch_objects(session, found)], limit)


@router.get("/{batch_id}", summary="See how far a batch is", response_model=BatchObject)
def get_openai_batch(context: ContextOf, who: Reader, batch_id: BatchId) -> dict[str, Any]:
    """Return a batch's status and counts, and at its end the files of its results."""
    with context.database.read() as session:
        return _object(session, _own(session, batch_id, who))


@router.post("/{batch_id}/cancel", summary="Cancel a batch", response_model=BatchObject)
def cancel_openai_batch(context: ContextOf, who: Operator, batch_id: BatchId) -> dict[str, Any]:
    """Call off what is not drawn yet; what is drawn will be in the file of outputs."""
    with context.database.write() as session:
        request = _own(session, batch_id, who, lock=True)
        cancel_request(session, request, context.database.now(session))
        return _object(session, request)


def _own(session: Session, text: str, who: Principal, *, lock: bool = False) -> BatchRequest:
    request = get_own(session, BatchRequest, of_id(BATCH, text), who, lock=lock)
    if request.endpoint is None:  # asked for below /api, where there are no files of results
        raise not_found(f"batch {text}")
    return request


def _object(session: Session, request: BatchRequest) -> dict[str, Any]:
    [one] = batch_objects(session, [request])
    return _with_ids(one)


def _with_ids(document: dict[str, Any]) -> dict[str, Any]:
    files = {
        name: None if document[name] is None else to_id(FILE, document[name])
        for name in ("input_file_id", "output_file_id", "error_file_id")
    }
    return {**document, **files, "id": to_id(BATCH, document["id"])}
