"""A batch as programs see it: its status, what was asked for, and what went wrong."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from producer.amounts import usd
from producer.status import batch_status
from shared.db.api_tables import BatchRequest
from shared.db.engine import Database
from shared.db.tables import Batch
from shared.domain.jobs import BatchControl, JobState
from shared.domain.requests import REQUEST_ENDS, RequestState
from shared.settings import Settings

CALLED_OFF = frozenset({RequestState.CANCELLING, RequestState.CANCELLED})


def batch_document(
    session: Session, database: Database, settings: Settings, batch: Batch
) -> dict[str, Any]:
    """Describe a batch that is in the books, as `producer.wire.batches.BatchDocument`."""
    request = session.get(BatchRequest, batch.id)
    status = batch_status(session, batch, settings, database.now(session))
    most = batch.max_nanodollars
    return {
        **status.to_json(),
        "tenant": batch.tenant,
        "deadline_at": batch.deadline_at and batch.deadline_at.isoformat(),
        "max_cost_usd": None if most is None else usd(most),
        "tags": batch.tags or {},
        "quote": batch.quote,
        "rejected": {"count": batch.client.get("rejected", {"count": 0})["count"]},
        "errors": _errors(request),
    }


def request_document(request: BatchRequest) -> dict[str, Any]:
    """Describe a batch of which no job is written yet, in the same form."""
    is_called_off = request.state in CALLED_OFF
    options = request.options
    return {
        "batch_id": str(request.id),
        "name": options["name"] or str(request.input_file_id),
        "model": options["model"] or "",
        "priority": options["priority"],
        "state": RequestState.CANCELLED.value if is_called_off else request.state,
        "control": (BatchControl.CANCELLED if is_called_off else BatchControl.ACTIVE).value,
        "created_at": request.created_at.isoformat(),
        "submitted": request.state in REQUEST_ENDS,
        "total": 0,
        "counts": {state.value: 0 for state in JobState},
        "details_dropped_at": None,
        "finished": request.state in REQUEST_ENDS,
        "images_per_second": None,
        "eta_seconds": None,
        "cost_nanodollars": 0,
        "cost_usd": usd(0),
        "failures": [],
        "workers_alive": 0,
        "devices_at_work": {},
        "why_idle": None if request.state in REQUEST_ENDS else "its file is being read",
        "tenant": request.tenant,
        "deadline_at": request.expires_at and request.expires_at.isoformat(),
        "max_cost_usd": options["max_cost_usd"],
        "tags": options["tags"],
        "quote": None,
        "rejected": {"count": request.requests},
        "errors": _errors(request),
    }


def _errors(request: BatchRequest | None) -> list[dict[str, Any]]:
    return [] if request is None or request.errors is None else list(request.errors["data"])
