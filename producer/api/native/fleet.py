"""What the installation has: workers, models, prices."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query
from starlette.requests import Request

from producer.api.context import NEEDS_ADMIN, NEEDS_READ, Context, ContextOf
from producer.api.problems import NATIVE_ERRORS, ApiError, not_found
from producer.fleet_documents import model_documents, worker_documents
from producer.fleet_report import fleet_document
from producer.fleet_view import view_fleet
from producer.price_book import read_book
from producer.price_changes import update_book
from producer.price_documents import book_json, update_json
from producer.price_file import MAX_FILE_BYTES, parse_price_file
from producer.wire.fleet import (
    FleetOut,
    ModelList,
    PriceBookOut,
    PriceChangesOut,
    WorkerList,
    WorkerOut,
)
from producer.workers import UnknownWorkerError, drain_worker, resume_worker
from shared.db.engine import Database
from shared.settings import Settings

router = APIRouter(prefix="/api", tags=["fleet"], responses=NATIVE_ERRORS)

MAX_LISTED = 1_000
TOML = "application/toml"
EXAMPLE = """\
currency = "USD"

[[price]]
kind = "cuda"
sku = "g5.xlarge"
usd_per_hour = "1.006"
source = "our contract"
"""
PRICE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {TOML: {"schema": {"type": "string"}, "example": EXAMPLE}},
    }
}


@router.get(
    "/workers", summary="List workers", response_model=WorkerList, dependencies=[NEEDS_ADMIN]
)
def list_workers(
    context: ContextOf,
    *,
    alive: Annotated[bool, Query(description="Leave out those that have ended.")] = True,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 100,
) -> dict[str, Any]:
    """Return the newest workers: host, device, model, when they last gave a sign."""
    database = context.database
    with database.read() as session:
        now = database.now(session)
        found = worker_documents(session, context.settings, now, limit, only_live=alive)
    return {"workers": found}


@router.get(
    "/fleet", summary="Watch the fleet", response_model=FleetOut, dependencies=[NEEDS_ADMIN]
)
def get_fleet(context: ContextOf) -> dict[str, Any]:
    """Return what each worker does, how fast and at what cost, and which devices are out."""
    database = context.database
    with database.read() as session:
        view = view_fleet(session, context.settings, database.now(session))
        return fleet_document(view)


@router.post(
    "/workers/{worker_id}/drain",
    summary="Drain a worker",
    response_model=WorkerOut,
    dependencies=[NEEDS_ADMIN],
)
def post_drain(context: ContextOf, worker_id: UUID) -> dict[str, Any]:
    """Have a worker finish what is in its device and take nothing more until it is resumed.

    It gives back what it has not begun, and keeps its model loaded; it goes on to cost.
    """
    return _decided(context, drain_worker, worker_id)


@router.post(
    "/workers/{worker_id}/resume",
    summary="Resume a worker",
    response_model=WorkerOut,
    dependencies=[NEEDS_ADMIN],
)
def post_resume(context: ContextOf, worker_id: UUID) -> dict[str, Any]:
    """Have a drained worker take jobs again; one that is stopping cannot."""
    return _decided(context, resume_worker, worker_id)


def _decided(
    context: Context,
    decide: Callable[[Database, Settings, UUID], dict[str, Any]],
    worker_id: UUID,
) -> dict[str, Any]:
    try:
        return decide(context.database, context.settings, worker_id)
    except UnknownWorkerError:
        raise not_found(f"worker {worker_id}") from None


@router.get("/models", summary="List models", response_model=ModelList, dependencies=[NEEDS_READ])
def list_models(context: ContextOf) -> dict[str, Any]:
    """Return the models that batches can ask for, the default first."""
    database = context.database
    with database.read() as session:
        return {"models": model_documents(session, context.settings, database.now(session))}


@router.get(
    "/prices", summary="See the price book", response_model=PriceBookOut, dependencies=[NEEDS_READ]
)
def get_prices(
    context: ContextOf,
    *,
    past: Annotated[bool, Query(description="With what is no longer in force.")] = False,
) -> dict[str, Any]:
    """Return what devices and the object store cost, and will."""
    with context.database.read() as session:
        book = read_book(session, context.database.now(session))
        return book_json(book if past else book.without_past())


@router.post(
    "/prices",
    summary="Set prices",
    response_model=PriceChangesOut,
    dependencies=[NEEDS_ADMIN],
    openapi_extra=PRICE_BODY,
)
async def post_prices(
    context: ContextOf,
    request: Request,
    *,
    check: Annotated[bool, Query(description="Change nothing.")] = False,
    correct: Annotated[
        bool, Query(description="Book the difference of prices that begin before now.")
    ] = False,
) -> dict[str, Any]:
    """Put the tables of a price file (TOML) into the book: all of it or nothing."""
    content = await request.body()
    if len(content) > MAX_FILE_BYTES:
        raise ApiError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"a price file has at most {MAX_FILE_BYTES:,} bytes",
        )
    file = parse_price_file(content, "request")

    def put() -> dict[str, Any]:
        update = update_book(
            context.database, file, name="request", corrects=correct, only_checks=check
        )
        return update_json(update, only_checks=check)

    return await run_sync(put)
