"""What was spent, and on what."""

from __future__ import annotations

import io
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from pydantic import Field, field_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from producer.api.context import Context, ContextOf, Reader
from producer.api.native.costs import MAX_GROUPS, CostQuery
from producer.api.tenancy import get_own
from producer.costs import CostReport, cost_report
from producer.costs.export import exported_report, write_csv
from producer.costs_by import CostsBy
from producer.dashboard.costs_shown import MOST_DAYS, day_columns, kind_lines, named
from producer.dashboard.pages import page
from producer.keys import Principal
from shared.clock import utc_now
from shared.db.prices import MissingPriceError
from shared.db.tables import Batch
from shared.errors import InputError

router = APIRouter(prefix="/costs")

GROUPS_SHOWN = 100
CSV = "text/csv; charset=utf-8"
GROUPINGS = {
    CostsBy.DAY: "day",
    CostsBy.MODEL: "model",
    CostsBy.DEVICE: "device",
    CostsBy.WORKER: "worker",
    CostsBy.TENANT: "tenant",
    CostsBy.BATCH: "batch",
    CostsBy.TAG: "tag",
}
REST_PER_READING = 20
"""Of a thousand batches it takes some 0.3 s."""
OF_ADMINS = {CostsBy.TENANT}


class CostSearch(CostQuery):
    """What is asked about; a form sends what was left empty too."""

    by: CostsBy = CostsBy.DAY
    limit: int = Field(default=GROUPS_SHOWN, ge=1, le=MAX_GROUPS)

    @field_validator("batch_id", "since", "until", "tag", "tenant", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @property
    def query(self) -> str:
        """It as the query of a URL, without a limit."""
        asked = self.model_dump(mode="json", exclude_none=True, exclude={"limit"})
        return urlencode(asked)


Wanted = Annotated[CostSearch, Query()]


@router.get("")
async def show_costs(request: Request, context: ContextOf, who: Reader, wanted: Wanted) -> Response:
    """Show what was spent: the total, on what, and how much of it no image came of."""
    groupings = {
        by.value: name for by, name in GROUPINGS.items() if who.sees_all or by not in OF_ADMINS
    }
    shown: dict[str, Any] = {"wanted": wanted, "groupings": groupings, "wrong": None}
    key = "costs", None if who.sees_all else who.tenant, wanted.query
    try:
        report, read_at = await context.reads.get(
            key, lambda: (_report(context, who, wanted), utc_now()), rest=REST_PER_READING
        )
    except (InputError, MissingPriceError) as error:
        return page(request, "costs.html", **shown | {"wrong": error, "report": None})
    days = day_columns(report) if wanted.by is CostsBy.DAY else None
    first = report.first(MOST_DAYS if days else wanted.limit)
    return page(
        request,
        "costs.html",
        **shown,
        report=first,
        read_at=read_at,
        lines=named(first),
        kinds=kind_lines(report.total),
        days=days,
    )


@router.get("/report.json")
def get_json(context: ContextOf, who: Reader, wanted: Wanted) -> Response:
    """Send the same for programs, every group of it."""
    report = _report(context, who, wanted).first(MAX_GROUPS)
    return JSONResponse(report.to_json(), headers=_named("json", wanted))


@router.get("/report.csv")
def get_csv(context: ContextOf, who: Reader, wanted: Wanted) -> Response:
    """Send the same for spreadsheets, every group of it."""
    file = io.StringIO()
    write_csv(exported_report(_report(context, who, wanted).first(MAX_GROUPS)), file)
    return Response(file.getvalue(), media_type=CSV, headers=_named("csv", wanted))


def _report(context: Context, who: Principal, wanted: CostSearch) -> CostReport:
    if wanted.since and wanted.until and wanted.since > wanted.until:
        raise InputError(f"since {wanted.since} is after until {wanted.until}")
    with context.database.read() as session:
        batch = None
        if wanted.batch_id is not None:
            batch = get_own(session, Batch, wanted.batch_id, who)
        return cost_report(
            session,
            by=wanted.by,
            batch=batch,
            since=wanted.since,
            until=wanted.until,
            tenant=wanted.tenant if who.sees_all else who.tenant,
            tag=wanted.key_and_value,
        )


def _named(ending: str, wanted: CostSearch) -> dict[str, str]:
    name = f"costs-by-{wanted.by.value}.{ending}"
    return {"Content-Disposition": f'attachment; filename="{name}"'}
