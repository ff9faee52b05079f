"""The workers, live: what each does, how busy it was, what an image of it costs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from anyio import sleep
from fastapi import APIRouter, Query
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response

from producer.api.context import Admin, Context, ContextOf
from producer.api.problems import not_found
from producer.dashboard.pages import back_to, fragment, page
from producer.dashboard.scales import spark_points
from producer.fleet_view import FleetView, view_fleet
from producer.workers import UnknownWorkerError, drain_worker, resume_worker

router = APIRouter(prefix="/fleet")

SECONDS_BETWEEN = 2.0
PING_SECONDS = 15
WORKERS = "workers"


class WorkerDecision(StrEnum):
    """What an operator of the fleet can have done with a worker."""

    DRAIN = "drain"
    """It ends what it has begun, and takes nothing more."""
    RESUME = "resume"


DECIDE = {WorkerDecision.DRAIN: drain_worker, WorkerDecision.RESUME: resume_worker}
AlsoEnded = Annotated[bool, Query(alias="ended")]


@router.get("")
def show_fleet(
    request: Request, context: ContextOf, who: Admin, *, also_ended: AlsoEnded = False
) -> Response:
    """Show the workers that have not ended, or those too that have."""
    del who
    fleet = _read(context, also_ended=also_ended)
    return page(request, "fleet.html", fleet=fleet, also_ended=also_ended, spark=spark_points)


@router.get("/live")
async def follow_fleet(
    context: ContextOf, who: Admin, *, also_ended: AlsoEnded = False
) -> EventSourceResponse:
    """Send the live part of that page every two seconds."""
    del who
    return EventSourceResponse(
        _changes(context, also_ended=also_ended),
        ping=PING_SECONDS,
        headers={"Cache-Control": "no-store"},
    )


async def _changes(context: Context, *, also_ended: bool) -> AsyncIterator[ServerSentEvent]:
    def render() -> str:
        fleet = _read(context, also_ended=also_ended)
        return fragment("_fleet_live.html", fleet=fleet, form_token=None, spark=spark_points)

    last = ""
    while True:
        html = await context.reads.get((WORKERS, also_ended), render)
        if html != last:
            last = html
            yield ServerSentEvent(html, event=WORKERS, sep="\n")
        # At the same moment for all, so that one reading is enough.
        await sleep(SECONDS_BETWEEN - time.monotonic() % SECONDS_BETWEEN)


def _read(context: Context, *, also_ended: bool) -> FleetView:
    database = context.database
    with database.read() as session:
        now = database.now(session)
        return view_fleet(session, context.settings, now, also_ended=also_ended)


@router.post("/{worker_id}/{decision}")
def decide(
    request: Request, context: ContextOf, who: Admin, worker_id: UUID, decision: WorkerDecision
) -> Response:
    """Do what a button says, and show the fleet again."""
    del who
    try:
        DECIDE[decision](context.database, context.settings, worker_id)
    except UnknownWorkerError:
        raise not_found(f"worker {worker_id}") from None
    context.reads.forget(lambda key: isinstance(key, tuple) and key[0] == WORKERS)
    return back_to(request, "/fleet")
