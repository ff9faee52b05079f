"""What a batch's page offers as files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from producer.api.context import Context, ContextOf, Reader
from producer.api.native.jobs import JSON_LINES, manifest_lines, reject_lines
from producer.api.tenancy import get_own
from producer.costs import make_bill
from producer.keys import Principal
from producer.manifest.jobs import job_pages
from producer.manifest.parquet import parquet_writer
from shared.db.details import require_details
from shared.db.tables import Batch
from shared.storage.base import BLOCK_BYTES

router = APIRouter(prefix="/batches/{batch_id}")

PARQUET = "application/vnd.apache.parquet"
MOST_IN_MEMORY = 8 * 2**20


@router.get("/manifest.jsonl")
def get_manifest(
    request: Request, context: ContextOf, who: Reader, batch_id: UUID
) -> StreamingResponse:
    """Send a line for every job: what it asked for, what drew it, what it cost."""
    require_details(_own(context, batch_id, who))
    lines = manifest_lines(context, context.base_url(request), batch_id)
    return _file(lines, JSON_LINES, f"{batch_id}.jsonl")


@router.get("/manifest.parquet")
def get_parquet(context: ContextOf, who: Reader, batch_id: UUID) -> StreamingResponse:
    """Send the same as a Parquet file."""
    require_details(_own(context, batch_id, who))
    return _file(_parquet(context, batch_id), PARQUET, f"{batch_id}.parquet")


def _parquet(context: Context, batch_id: UUID) -> Iterator[bytes]:
    """Write it to a file of its own first: what it consists of is told at its end."""
    with tempfile.SpooledTemporaryFile(MOST_IN_MEMORY) as file:
        with parquet_writer(file, batch_id) as write:
            for page in job_pages(context.database, batch_id):
                write([(facts, None) for facts in page])
        file.seek(0)
        yield from _blocks(file)


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        yield block


@router.get("/rejects.jsonl")
def get_rejects(context: ContextOf, who: Reader, batch_id: UUID) -> StreamingResponse:
    """Send the lines that were left out, with the reasons."""
    _own(context, batch_id, who)
    return _file(reject_lines(context, batch_id), JSON_LINES, f"{batch_id}.rejects.jsonl")


@router.get("/bill.json")
def get_bill(context: ContextOf, who: Reader, batch_id: UUID) -> Response:
    """Send what the batch cost, line by line."""
    with context.database.read() as session:
        bill = make_bill(session, get_own(session, Batch, batch_id, who))
    return JSONResponse(bill.to_json(), headers=_named(f"{batch_id}.bill.json"))


def _own(context: Context, batch_id: UUID, who: Principal) -> Batch:
    with context.database.read() as session:
        return get_own(session, Batch, batch_id, who)


def _file(content: Iterator[bytes], kind: str, name: str) -> StreamingResponse:
    return StreamingResponse(content, media_type=kind, headers=_named(name))


def _named(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}
