"""Batches: asked for, looked at, changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from producer.api.context import ContextOf, Operator, Reader
from producer.api.native.changes import BatchChange, change_batch
from producer.api.problems import NATIVE_ERRORS, not_found
from producer.api.tenancy import find_own, newest
from producer.batch_documents import batch_document, request_document
from producer.keys import Principal
from producer.status import summaries
from producer.wire.batches import BatchDocument, BatchList
from shared.db.api_tables import BatchRequest
from shared.db.engine import Database
from shared.db.tables import Batch
from shared.settings import Settings

router = APIRouter(prefix="/api/batches", tags=["batches"], responses=NATIVE_ERRORS)

MAX_LISTED = 500
Limit = Annotated[int, Query(ge=1, le=MAX_LISTED)]
IfNoneMatch = Annotated[str | None, Header(description="Answers 304 while nothing has changed.")]


def status_reader(
    database: Database, settings: Settings
) -> Callable[[UUID, Principal], Mapping[str, Any]]:
    """Make the function that reads a batch's status for the feed."""

    def read(batch_id: UUID, who: Principal) -> Mapping[str, Any]:
        with database.read() as session:
            batch = find_own(session, Batch, batch_id, who)
            if batch is not None:
                return batch_document(session, database, settings, batch)
            request = find_own(session, BatchRequest, batch_id, who)
            if request is None:
                raise not_found(f"batch {batch_id}")
            return request_document(request)

    return read


@router.get("", summary="List batches", response_model=BatchList)
def list_batches(
    context: ContextOf, who: Reader, limit: Limit = 50, before: UUID | None = None
) -> dict[str, Any]:
    """Return the newest batches, newest first; `next` begins the next page."""
    with context.database.read() as session:
        batches = newest(session, Batch, who, limit + 1, before)
        found = summaries(session, batches[:limit])
    return {
        "batches": [summary.to_json() for summary in found],
        "next": found[-1].id if len(batches) > limit else None,
    }


@router.get(
    "/{batch_id}",
    summary="See how far a batch is",
    response_model=BatchDocument,
    responses={304: {"description": "Nothing has changed."}},
)
async def get_batch(
    context: ContextOf, who: Reader, batch_id: UUID, if_none_match: IfNoneMatch = None
) -> Response:
    """Return counts, rate, time left, cost and failures, at most half a second old."""
    snapshot = await context.feed.get(batch_id, who)
    headers = {"ETag": snapshot.etag, "Cache-Control": "private, no-cache"}
    if if_none_match is not None and snapshot.etag in if_none_match:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(snapshot.body, headers=headers, media_type="application/json")


@router.patch("/{batch_id}", summary="Change a batch", response_model=BatchDocument)
def patch_batch(
    context: ContextOf, who: Operator, batch_id: UUID, change: BatchChange
) -> Mapping[str, Any]:
    """Pause, resume or cancel it; change its priority, its budget or its deadline."""
    change_batch(context.database, batch_id, who, change)
    context.feed.forget(batch_id)
    return status_reader(context.database, context.settings)(batch_id, who)
