"""Lines of the list of batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from producer.activity import recent_rates
from producer.api.tenancy import newest
from producer.batch_documents import request_document
from producer.batch_status import BatchSummary
from producer.costs.quoted import QuoteComparison, compare
from producer.status import summaries, time_left
from shared.db.api_tables import BatchRequest
from shared.db.tables import Batch
from shared.domain.jobs import BatchControl, JobState

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from producer.keys import Principal
    from shared.db.engine import Database

ROWS_A_PAGE = 50
MOST_LOOKED_AT = 1_000
"""Batches that are searched for one page: some tens of milliseconds."""
RATE_SECONDS = 60
OPEN = "open"
State = Literal[
    "",
    "open",
    "waiting",
    "working",
    "paused",
    "held",
    "finished",
    "cancelled",
    "validating",
    "failed",
]


class BatchFilter(BaseModel):
    """Which batches are wanted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    q: str = Field(default="", max_length=200, description="In name, model, tenant or id.")
    state: State = ""
    before: UUID | None = None

    def wants(self, row: BatchRow) -> bool:
        """Tell whether a batch is meant."""
        summary = row.summary
        if self.state == OPEN:
            if summary.is_finished or summary.state == BatchControl.CANCELLED:
                return False
        elif self.state and summary.state != self.state:
            return False
        text = self.q.strip().casefold()
        told = (summary.name, summary.model, row.tenant, str(summary.id))
        return not text or any(text in one.casefold() for one in told)


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One batch."""

    summary: BatchSummary
    tenant: str
    images_per_second: float | None
    eta_seconds: tuple[float, float] | None
    """Soonest and latest."""
    quote: QuoteComparison | None


@dataclass(frozen=True, slots=True)
class BatchRows:
    """A page of them."""

    rows: Sequence[BatchRow]
    next: UUID | None
    """Begins the next page; None if there is none."""
    looked_at: int
    """How many batches were searched for it."""

    @property
    def is_partial(self) -> bool:
        """Whether there may be more on the next page although this one is not full."""
        return self.next is not None and len(self.rows) < ROWS_A_PAGE


def read_rows(database: Database, who: Principal, wanted: BatchFilter) -> BatchRows:
    """Read a page of the batches that somebody may see, newest first."""
    with database.read() as session:
        found: list[BatchRow] = []
        begin, looked_at = wanted.before, 0
        while True:
            rows, begin = _some(session, who, begin)
            looked_at += len(rows)
            found += filter(wanted.wants, rows)
            if len(found) >= ROWS_A_PAGE or begin is None or looked_at >= MOST_LOOKED_AT:
                break
        if len(found) > ROWS_A_PAGE:
            found = found[:ROWS_A_PAGE]
            begin = found[-1].summary.id
        return BatchRows(_with_rates(session, database, found), begin, looked_at)


def _some(
    session: Session, who: Principal, before: UUID | None
) -> tuple[Sequence[BatchRow], UUID | None]:
    """Return some batches in order, and where those begin that come next.

    A batch has the id of the request for it, which is there before and, if its file is
    refused, instead.
    """
    asked = newest(session, BatchRequest, who, ROWS_A_PAGE + 1, before)
    written = newest(session, Batch, who, ROWS_A_PAGE + 1, before)
    rows = {request.id: _row_of_request(request) for request in asked}
    rows |= {row.summary.id: row for row in _plain_rows(session, written)}
    ids = sorted(rows, reverse=True)
    shown = ids[:ROWS_A_PAGE]
    return [rows[one] for one in shown], shown[-1] if len(ids) > ROWS_A_PAGE else None


def _row_of_request(request: BatchRequest) -> BatchRow:
    summary = BatchSummary.from_json(request_document(request))
    return BatchRow(summary, request.tenant, None, None, None)


def _plain_rows(session: Session, batches: Sequence[Batch]) -> Sequence[BatchRow]:
    return [
        BatchRow(summary, batch.tenant, None, None, _compared(batch, summary))
        for batch, summary in zip(batches, summaries(session, batches), strict=True)
    ]


def _compared(batch: Batch, summary: BatchSummary) -> QuoteComparison | None:
    if batch.quote is None:
        return None
    return compare(batch.quote, summary.counts[JobState.DONE], summary.cost_nanodollars or 0)


def _with_rates(
    session: Session, database: Database, rows: Sequence[BatchRow]
) -> Sequence[BatchRow]:
    at_work = [row.summary.id for row in rows if row.summary.unfinished]
    rates = recent_rates(session, at_work, database.now(session)) if at_work else {}
    return [_with_rate(row, rates.get(row.summary.id)) for row in rows]


def _with_rate(row: BatchRow, rate: float | None) -> BatchRow:
    if not rate:
        return row
    left = time_left(row.summary, rate, round(rate * RATE_SECONDS))
    return BatchRow(row.summary, row.tenant, rate, left, row.quote)
