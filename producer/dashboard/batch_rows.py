"""Lines of the list of batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
SEARCHED_AT_ONCE = 500
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

    @property
    def at_once(self) -> int:
        """How many batches are read together: more where few of them may be meant."""
        return SEARCHED_AT_ONCE if self.q or self.state else ROWS_A_PAGE

    def names(self, batch: Batch) -> bool:
        """Tell whether a batch is called like that."""
        told = (batch.name, batch.model, batch.tenant, str(batch.id))
        return self._has_text(told)

    def wants(self, row: BatchRow) -> bool:
        """Tell whether a batch is meant."""
        summary = row.summary
        if self.state == OPEN:
            if summary.is_finished or summary.state == BatchControl.CANCELLED:
                return False
        elif self.state and summary.state != self.state:
            return False
        return self._has_text((summary.name, summary.model, row.tenant, str(summary.id)))

    def _has_text(self, told: Iterable[str]) -> bool:
        text = self.q.strip().casefold()
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
            rows, looked, begin = _some(session, who, wanted, begin)
            looked_at += looked
            found += rows
            if len(found) >= ROWS_A_PAGE or begin is None or looked_at >= MOST_LOOKED_AT:
                break
        if len(found) > ROWS_A_PAGE:
            found = found[:ROWS_A_PAGE]
            begin = found[-1].summary.id
        return BatchRows(_with_rates(session, database, found), begin, looked_at)


def _some(
    session: Session, who: Principal, wanted: BatchFilter, before: UUID | None
) -> tuple[Sequence[BatchRow], int, UUID | None]:
    """Look at some batches: return those that are meant in order, how many, where it goes on.

    A batch has the id of the request for it, which is there before and, if its file is
    refused, instead.
    """
    most = wanted.at_once
    asked = newest(session, BatchRequest, who, most + 1, before)
    written = newest(session, Batch, who, most + 1, before)
    is_written = {batch.id for batch in written}
    ids = sorted(is_written | {request.id for request in asked}, reverse=True)
    shown = set(ids[:most])
    rows = [_row_of_request(one) for one in asked if one.id in shown - is_written]
    rows += _plain_rows(session, [one for one in written if one.id in shown and wanted.names(one)])
    rows.sort(key=lambda row: row.summary.id, reverse=True)
    goes_on = ids[most - 1] if len(ids) > most else None
    return [row for row in rows if wanted.wants(row)], len(shown), goes_on


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
