"""New batches: of prompts in the request, of a file that was uploaded, or of the body itself."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header
from pydantic import ConfigDict, Field, model_validator
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from producer.api.context import Context, ContextOf, Submitter
from producer.api.document import JSON, json_body, query_parameters
from producer.api.problems import NATIVE_ERRORS, ApiError, parsed, validated
from producer.api.receiving import keep_file, receive_file
from producer.api.tenancy import get_own
from producer.batch_options import BatchOptions
from producer.batch_requests import Asked, ask, check_room, total_of
from producer.inline_batches import MAX_PROMPTS, fingerprint, submit_inline
from producer.keys import Principal
from producer.order import Submission
from producer.prompt_format import PromptFormat
from producer.rejected_lines import keep_rejects
from producer.uploads import FileView
from producer.wire.batches import NewBatchOut
from shared.db.api_tables import StoredFile
from shared.domain.prompts import Label
from shared.telemetry.traces import TRACEPARENT, valid_traceparent

router = APIRouter(prefix="/api/batches", tags=["batches"], responses=NATIVE_ERRORS)

FORMATS = {
    "text/plain": PromptFormat.TEXT,
    "text/csv": PromptFormat.CSV,
    "text/tab-separated-values": PromptFormat.TSV,
    "application/x-ndjson": PromptFormat.JSONL,
    "application/jsonl": PromptFormat.JSONL,
    "application/vnd.apache.parquet": PromptFormat.PARQUET,
    "application/octet-stream": None,
}
"""How a body is written; where nothing tells, its begin does."""
PURPOSE = "prompts"
KEY_PREFIX = "batch:"
"""Keeps the keys of files that came with a batch apart from those of other files."""
TAG = "tag"
MAX_KEY_CHARACTERS = 200
IdempotencyKey = Annotated[
    Label | None,
    Header(max_length=MAX_KEY_CHARACTERS, description="The same key is the same batch."),
]
INLINE_EXAMPLE: dict[str, Any] = {
    "prompts": ["a red apple", {"prompt": "a green pear", "seed": 7, "custom_id": "pear"}],
    "name": "fruit",
    "steps": 16,
    "squeeze": "10,6",
}


class NewBatch(BatchOptions):
    """Prompts, or a file that has them, and what the batch is to be."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [INLINE_EXAMPLE]}
    )

    prompts: list[str | dict[str, Any]] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_PROMPTS,
        description="Prompts, or the lines of a JSONL file as objects.",
    )
    file_id: UUID | None = Field(default=None, description="Of an uploaded file.")
    format: PromptFormat | None = Field(
        default=None, description="How the file is written; default by its name, or its begin."
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> NewBatch:
        if (self.prompts is None) == (self.file_id is None):
            raise ValueError("give prompts or file_id")
        return self

    def options(self) -> BatchOptions:
        """Return what is said beside the prompts."""
        return BatchOptions.model_validate(
            {name: getattr(self, name) for name in BatchOptions.model_fields}
        )


def _documented() -> dict[str, Any]:
    """Describe the body, and the options as parameters: FastAPI sees neither."""
    body = json_body(NewBatch)
    binary = {"schema": {"type": "string", "format": "binary"}}
    body["requestBody"]["content"] |= dict.fromkeys(FORMATS, binary)
    tag = {"type": "array", "items": {"type": "string", "examples": ["campaign=spring"]}}
    parameters = query_parameters(BatchOptions, without="tags")
    return {"parameters": [*parameters, {"name": TAG, "in": "query", "schema": tag}], **body}


@router.post(
    "",
    summary="Submit a batch",
    status_code=HTTPStatus.CREATED,
    response_model=NewBatchOut,
    responses={202: {"model": NewBatchOut, "description": "Its file is being read."}},
    openapi_extra=_documented(),
)
async def post_batch(
    context: ContextOf,
    who: Submitter,
    request: Request,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> NewBatchOut:
    """Submit up to 10,000 prompts at once, or a file of up to 10 million.

    A body that is no JSON is the file itself; the options are then in the query. A file is
    read after the answer: the batch's state is "validating" until then.
    """
    traceparent = valid_traceparent(request.headers.get(TRACEPARENT))
    kind = request.headers.get("content-type", JSON).split(";")[0].strip().lower()
    if kind == JSON:
        new = parsed(NewBatch, await request.body())
        made = await run_sync(_submitted, context, who, new, idempotency_key, traceparent)
    elif kind in FORMATS:
        options = _options_of(request.query_params)
        # Before it sends what may be gigabytes.
        await run_sync(_check, context, who, options, idempotency_key)
        written = await receive_file(context.store, request.stream())
        file = await keep_file(
            context.services,
            written,
            tenant=who.tenant,
            name=PURPOSE,
            purpose=PURPOSE,
            key=idempotency_key and f"{KEY_PREFIX}{idempotency_key}",
        )
        asked = asked_of_file(who, options, file, FORMATS[kind], idempotency_key, traceparent)
        made = await run_sync(put_request, context, asked)
    else:
        raise ApiError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"a body of type {kind[:80]} is no batch",
            hint=f"One of {JSON}, {', '.join(FORMATS)}.",
        )
    if made.total is None:
        response.status_code = HTTPStatus.ACCEPTED
    response.headers["Location"] = f"/api/batches/{made.batch_id}"
    return made


def _options_of(query: QueryParams) -> BatchOptions:
    given: dict[str, Any] = {name: value for name, value in query.items() if name != TAG}
    tags = [text.partition("=") for text in query.getlist(TAG)]
    if any(not equals for _, equals, _ in tags):
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "tag: is not KEY=VALUE", param=TAG)
    return validated(BatchOptions, {**given, "tags": {name: value for name, _, value in tags}})


def _check(context: Context, who: Principal, options: BatchOptions, key: str | None) -> None:
    options.card(context.settings)
    with context.database.read() as session:
        check_room(session, context.settings, who.tenant, key)


def _submitted(
    context: Context, who: Principal, new: NewBatch, key: str | None, traceparent: str | None
) -> NewBatchOut:
    options = new.options()
    options.card(context.settings)
    if new.prompts is None:
        file = file_of(context, new.file_id, who)
        asked = asked_of_file(who, options, file, new.format, key, traceparent)
        return put_request(context, asked)
    submission = submit_inline(
        context.services,
        options,
        new.prompts,
        tenant=who.tenant,
        key=key,
        traceparent=traceparent,
    )
    keep_rejects(context.store, submission.batch_id, submission.rejects)
    return _made(submission)


def file_of(context: Context, file_id: UUID | None, who: Principal) -> FileView:
    """Return the file that a request names.

    Raises:
        ApiError: it is not there, or not theirs: 404.
    """
    if file_id is None:
        raise ValueError("the request names no file")
    with context.database.read() as session:
        return FileView.of(get_own(session, StoredFile, file_id, who))


def asked_of_file(
    who: Principal,
    options: BatchOptions,
    file: FileView,
    prompt_format: PromptFormat | None,
    key: str | None,
    traceparent: str | None = None,
) -> Asked:
    """Say what is asked for: a batch of a file that was uploaded.

    Args:
        who: asks, and the file is theirs.
        options: what the batch is to be.
        file: the prompts.
        prompt_format: how it is written; None tells by its name, or by how it begins.
        key: idempotency key; the same is the same batch, if all else is the same too.
        traceparent: of the client's span.
    """
    told = {
        "options": options.model_dump(mode="json"),
        "sha256": file.sha256,
        "format": prompt_format,
    }
    return Asked(
        tenant=who.tenant,
        input_file_id=file.id,
        prompt_format=prompt_format,
        options=options,
        key=key,
        request_sha256=fingerprint(told),
        traceparent=traceparent,
    )


def put_request(context: Context, asked: Asked) -> NewBatchOut:
    """Write down what is asked for: the clerk makes a batch of it.

    Raises:
        ConflictError: something else was asked for with that key.
        LimitReachedError: the tenant has too many open batches, or jobs.
        InputError: there is no such model.
    """
    asked.options.card(context.settings)
    with context.database.write() as session:
        request = ask(session, context.settings, asked, context.database.now(session))
        there = total_of(session, request)
        return NewBatchOut(
            batch_id=request.id,
            state="validating" if there is None else "submitted",
            total=there,
            was_there=there or 0,
            reused=0,
            quote=None,
            rejected=None,
        )


def _made(submission: Submission) -> NewBatchOut:
    document = submission.to_json()
    document["rejected"].pop("file")
    return NewBatchOut.model_validate({**document, "state": "submitted"})
