"""The list of batches, live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response

from producer.api.context import Context, ContextOf, Reader
from producer.dashboard.batch_rows import BatchFilter, BatchRows, read_rows
from producer.dashboard.pages import back_to, fragment, page
from producer.keys import Principal

router = APIRouter()

SECONDS_BETWEEN = 2.0
PING_SECONDS = 15
ROWS = "rows"


@router.get("/")
def home(request: Request) -> Response:
    """Send whoever comes to the batches."""
    return back_to(request, "/batches")


@router.get("/batches")
def list_batches(
    request: Request, context: ContextOf, who: Reader, wanted: Annotated[BatchFilter, Query()]
) -> Response:
    """Show the newest batches, or those that are looked for."""
    found = read_rows(context.database, who, wanted)
    return page(request, "batches.html", found=found, wanted=wanted)


@router.get("/batches/live")
async def follow_batches(
    context: ContextOf, who: Reader, wanted: Annotated[BatchFilter, Query()]
) -> EventSourceResponse:
    """Send the lines of that page whenever they have changed."""
    return EventSourceResponse(
        _changes(context, who, wanted), ping=PING_SECONDS, headers={"Cache-Control": "no-store"}
    )


async def _changes(
    context: Context, who: Principal, wanted: BatchFilter
) -> AsyncIterator[ServerSentEvent]:
    def read() -> BatchRows:
        return read_rows(context.database, who, wanted)

    key = (ROWS, None if who.sees_all else who.tenant, wanted)
    last: BatchRows | None = None
    while True:
        found = await context.reads.get(key, read)
        if found != last:
            last = found
            html = fragment("_batch_rows.html", found=found, who=who, wanted=wanted)
            yield ServerSentEvent(html, event=ROWS, sep="\n")
        await asyncio.sleep(SECONDS_BETWEEN)
