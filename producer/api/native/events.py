"""What happens to a batch, as it happens: Server-Sent Events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

from fastapi import APIRouter
from sse_starlette import EventSourceResponse, ServerSentEvent

from producer.api.context import ContextOf, Reader
from producer.api.document import reference_to
from producer.api.feed import Snapshot, StatusFeed
from producer.api.problems import NATIVE_ERRORS
from producer.keys import Principal
from producer.wire.batches import BatchDocument

router = APIRouter(prefix="/api/batches", tags=["batches"], responses=NATIVE_ERRORS)

SECONDS_BETWEEN = 1.0
PING_SECONDS = 15
STATUS = "status"
END = "end"
EVENT = {
    "description": "Each of the events.",
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": [STATUS, END]},
        "id": {"type": "string", "examples": ["6f1e0c5d2b9a4e7f8a3b1c2d3e4f5a6b"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": reference_to(BatchDocument),
        },
    },
}


@router.get(
    "/{batch_id}/events",
    summary="Follow a batch",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "An event `status` at every change, and `end` when it is finished: "
            "the data of each is what GET /api/batches/{batch_id} answers.",
            "content": {"text/event-stream": {"schema": EVENT}},
        }
    },
)
async def follow_batch(context: ContextOf, who: Reader, batch_id: UUID) -> EventSourceResponse:
    """Send its status now and at every change, once a second at most, until it is finished.

    Whoever comes again with Last-Event-ID has missed nothing: each event is the whole status.
    """
    first = await context.feed.get(batch_id, who)
    return EventSourceResponse(
        _events(context.feed, batch_id, who, first),
        ping=PING_SECONDS,
        headers={"Cache-Control": "no-store"},
    )


async def _events(
    feed: StatusFeed, batch_id: UUID, who: Principal, first: Snapshot
) -> AsyncIterator[ServerSentEvent]:
    snapshot, last = first, ""
    while not snapshot.is_at_end:
        if snapshot.etag != last:
            last = snapshot.etag
            yield _event(STATUS, snapshot)
        await asyncio.sleep(SECONDS_BETWEEN)
        snapshot = await feed.get(batch_id, who)
    yield _event(END, snapshot)


def _event(name: str, snapshot: Snapshot) -> ServerSentEvent:
    return ServerSentEvent(
        snapshot.body.decode(), event=name, id=snapshot.etag.strip('"'), sep="\n"
    )
