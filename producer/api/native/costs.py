"""What was spent, and what would be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Annotated, Any
from uuid import UUID

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.requests import Request

from producer.api.context import Context, ContextOf, Reader, Submitter
from producer.api.document import json_body
from producer.api.native.new_batches import NewBatch, file_of
from producer.api.problems import NATIVE_ERRORS, parsed
from producer.api.tenancy import get_own
from producer.costs import cost_report, make_bill
from producer.costs_by import CostsBy
from producer.inline_batches import source_of_prompts
from producer.keys import Principal
from producer.prompt_files import PromptSource
from producer.quoting import quote_source
from producer.uploaded_prompts import open_uploaded
from producer.wire.costs import BillOut, CostReportOut, QuotesOut
from shared.db.tables import Batch
from shared.errors import InputError

router = APIRouter(prefix="/api", tags=["costs"], responses=NATIVE_ERRORS)

MAX_GROUPS = 10_000
MOST_QUOTED_BYTES = 64 * 2**20


class CostQuery(BaseModel):
    """What is asked about."""

    model_config = ConfigDict(extra="forbid")

    by: CostsBy = Field(default=CostsBy.BATCH, description="By job is the bill's business.")
    batch_id: UUID | None = None
    since: date | None = Field(default=None, description="The first day, in UTC.")
    until: date | None = Field(default=None, description="The last day.")
    tag: str | None = Field(default=None, max_length=129, examples=["campaign=spring"])
    tenant: str | None = Field(default=None, max_length=128, description="For admins.")
    limit: int = Field(default=1_000, ge=1, le=MAX_GROUPS)

    @field_validator("by")
    @classmethod
    def _is_a_sum(cls, by: CostsBy) -> CostsBy:
        if by is CostsBy.JOB:
            raise ValueError("costs by job are in the batch's jobs and manifest")
        return by

    @property
    def key_and_value(self) -> tuple[str, str] | None:
        """The tag in two."""
        if self.tag is None:
            return None
        key, equals, value = self.tag.partition("=")
        if not equals:
            raise InputError("tag: is not KEY=VALUE, such as campaign=spring")
        return key, value


@router.get("/batches/{batch_id}/bill", summary="Get a batch's bill", response_model=BillOut)
def get_bill(context: ContextOf, who: Reader, batch_id: UUID) -> dict[str, Any]:
    """Return what a batch cost, line by line; the lines add up to the total."""
    with context.database.read() as session:
        return make_bill(session, get_own(session, Batch, batch_id, who)).to_json()


@router.get("/costs", summary="See what was spent on what", response_model=CostReportOut)
def get_costs(
    context: ContextOf, who: Reader, query: Annotated[CostQuery, Query()]
) -> dict[str, Any]:
    """Return sums of the books, grouped; the groups after the limit are one sum, `others`."""
    if query.since and query.until and query.since > query.until:
        raise InputError(f"since {query.since} is after until {query.until}")
    with context.database.read() as session:
        batch = None
        if query.batch_id is not None:
            batch = get_own(session, Batch, query.batch_id, who)
        report = cost_report(
            session,
            by=query.by,
            batch=batch,
            since=query.since,
            until=query.until,
            tenant=query.tenant if who.sees_all else who.tenant,
            tag=query.key_and_value,
        )
    return report.first(query.limit).to_json()


@router.post(
    "/quotes",
    summary="Ask what prompts would cost",
    response_model=QuotesOut,
    openapi_extra=json_body(NewBatch),
)
async def post_quote(context: ContextOf, who: Submitter, request: Request) -> dict[str, Any]:
    """Quote prompts for the workers that live and for one of each device; submit nothing.

    Takes what POST /api/batches takes as JSON. A file over 64 MiB is quoted when it is
    submitted: with `hold`, nothing of it is drawn before you approve.
    """
    new = parsed(NewBatch, await request.body())
    return await run_sync(_quoted, context, who, new)


def _quoted(context: Context, who: Principal, new: NewBatch) -> dict[str, Any]:
    with _prompts(context, who, new) as source:
        quoted = quote_source(context.services, new.options(), source)
    document = quoted.to_json()
    document["rejected"].pop("file")
    return document


@contextmanager
def _prompts(context: Context, who: Principal, new: NewBatch) -> Iterator[PromptSource]:
    if new.prompts is not None:
        yield source_of_prompts(new.prompts, digest="")
        return
    file = file_of(context, new.file_id, who)
    if file.bytes > MOST_QUOTED_BYTES:
        raise InputError(
            f"a file of more than {MOST_QUOTED_BYTES:,} bytes is not quoted here",
            hint="Submit it with hold: it is quoted, and nothing is drawn before you approve.",
        )
    with open_uploaded(context.store, file, new.format) as source:
        yield source
