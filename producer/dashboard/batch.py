"""One batch: how it goes on, what it costs, what its owner decides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from anyio import sleep
from fastapi import APIRouter, Form
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from producer.activity import BatchSeries, batch_series
from producer.api.context import Context, ContextOf, Operator, Reader
from producer.api.feed import Snapshot
from producer.api.native.changes import (
    BatchChange,
    approve_held,
    change_batch,
    own_batch,
    reject_held,
)
from producer.api.tenancy import find_own, get_own
from producer.arrivals import Arrival
from producer.batch_status import BatchStatus
from producer.control import retry
from producer.costs.quoted import compare
from producer.dashboard.pages import allowed, back_to, fragment, page
from producer.dashboard.tiles import Place, read_tiles
from producer.job_history import first_settings
from producer.keys import Principal
from producer.status import summaries
from shared.clock import utc_now
from shared.db.tables import Batch
from shared.domain.jobs import BatchControl

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

router = APIRouter(prefix="/batches/{batch_id}")

SECONDS_BETWEEN = 1.0
PING_SECONDS = 15
PROGRESS, END = "progress", "end"
MAX_CODE_CHARACTERS = 64


class Decision(StrEnum):
    """What an owner can have done with a batch."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    APPROVE = "approve"
    REJECT = "reject"
    RETRY = "retry"


CONTROLS = {
    Decision.PAUSE: BatchControl.PAUSED,
    Decision.RESUME: BatchControl.ACTIVE,
    Decision.CANCEL: BatchControl.CANCELLED,
}


@router.get("")
async def show_batch(
    request: Request, context: ContextOf, who: Reader, batch_id: UUID, before: Place = None
) -> Response:
    """Show a batch, be it drawn, waiting, or not even read yet."""
    begin = Arrival.parse(before) if before else None
    snapshot = await context.feed.get(batch_id, who)

    def more() -> dict[str, Any]:
        with context.database.read() as session:
            return _beside_status(session, batch_id, who, begin)

    beside = await context.reads.get((batch_id, "beside", who, begin), more)
    return page(request, "batch.html", **_shown(snapshot), **beside)


def _beside_status(
    session: Session, batch_id: UUID, who: Principal, begin: Arrival | None
) -> dict[str, Any]:
    batch = find_own(session, Batch, batch_id, who)
    if batch is None:  # its file is being read
        return {"batch": None, "tiles": None, "first": None, "series": None}
    return {
        "batch": batch,
        "tiles": None if batch.details_dropped_at else read_tiles(session, batch_id, begin),
        "first": first_settings(session, batch_id),
        "series": _series(session, batch),
    }


def _series(session: Session, batch: Batch) -> BatchSeries:
    """Return what came of a batch; of one that goes on until now, so that a pause is seen."""
    [summary] = summaries(session, [batch])
    return batch_series(session, batch.id, until=None if summary.is_finished else utc_now())


def _shown(snapshot: Snapshot) -> dict[str, Any]:
    """Return what the live part of the page shows."""
    told = snapshot.document
    status = BatchStatus.from_json(told)
    quote = told["quote"]
    deadline = told["deadline_at"]
    return {
        "status": status,
        "told": told,
        "quote": quote and compare(quote, status.done, status.cost_nanodollars),
        "deadline": deadline and datetime.fromisoformat(deadline),
    }


@router.get("/live")
async def follow_batch(context: ContextOf, who: Reader, batch_id: UUID) -> EventSourceResponse:
    """Send the live part of the page at every change, once a second at most."""
    first = await context.feed.get(batch_id, who)
    return EventSourceResponse(
        _changes(context, batch_id, who, first),
        ping=PING_SECONDS,
        headers={"Cache-Control": "no-store"},
    )


async def _changes(
    context: Context, batch_id: UUID, who: Principal, first: Snapshot
) -> AsyncIterator[ServerSentEvent]:
    snapshot, last = first, ""
    while True:
        if snapshot.etag != last:
            last = snapshot.etag
            yield ServerSentEvent(_live(snapshot, allowed(who)), event=PROGRESS, sep="\n")
        if snapshot.is_at_end:
            break
        await sleep(SECONDS_BETWEEN)
        snapshot = await context.feed.get(batch_id, who)
    yield ServerSentEvent("", event=END, sep="\n")


@lru_cache(maxsize=256)
def _live(snapshot: Snapshot, may: frozenset[str]) -> str:
    """Render the live part, once for all who look at the batch and may do the same.

    Its forms are sent by a script, which takes the token from the page.
    """
    return fragment("_batch_live.html", may=may, form_token=None, **_shown(snapshot))


@router.get("/series")
def get_series(context: ContextOf, who: Reader, batch_id: UUID) -> JSONResponse:
    """Send what the charts of throughput and cost show."""
    with context.database.read() as session:
        series = _series(session, get_own(session, Batch, batch_id, who))
    return JSONResponse(
        {
            "bucket_seconds": series.bucket_seconds,
            "times": [begin.timestamp() for begin, _ in series.timed],
            **{
                name: [getattr(point, name) for point in series.points]
                for name in ("done", "failed", "nanodollars")
            },
        }
    )


@router.post("/{decision}")
def decide(
    request: Request,
    context: ContextOf,
    who: Operator,
    batch_id: UUID,
    decision: Decision,
    code: Annotated[str | None, Form(max_length=MAX_CODE_CHARACTERS)] = None,
) -> Response:
    """Do what a button says, and show the batch again."""
    if decision in CONTROLS:
        change = BatchChange(control=CONTROLS[decision])
        change_batch(context.database, batch_id, who, change)
    else:
        DECIDE[decision](context, who, batch_id, code)
    context.feed.forget(batch_id)
    return back_to(request, f"/batches/{batch_id}")


def _approve(context: Context, who: Principal, batch_id: UUID, _: str | None) -> None:
    approve_held(context, who, batch_id)


def _reject(context: Context, who: Principal, batch_id: UUID, _: str | None) -> None:
    reject_held(context, who, batch_id)


def _retry(context: Context, who: Principal, batch_id: UUID, code: str | None) -> None:
    with context.database.write() as session:
        batch = own_batch(session, batch_id, who)
        retry(session, batch, [], context.database.now(session), error=code)


DECIDE: dict[Decision, Callable[[Context, Principal, UUID, str | None], None]] = {
    Decision.APPROVE: _approve,
    Decision.REJECT: _reject,
    Decision.RETRY: _retry,
}
