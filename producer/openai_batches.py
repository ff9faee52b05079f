"""Batches as OpenAI's API describes them."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic_core import from_json
from sqlalchemy.orm import Session

from producer.amounts import seconds, usd
from producer.prompt_content import content_of
from producer.prompt_lines import line_groups
from producer.uploads import FileView
from shared.db.api_tables import BatchRequest
from shared.db.cost_sums import read_costs
from shared.db.tables import Batch
from shared.db.tallies import NOTHING, BatchTally, read_tallies
from shared.domain.jobs import JobState
from shared.domain.requests import REQUEST_ENDS, RequestState
from shared.errors import InputError
from shared.storage.base import ObjectStore

HEAD_BYTES = 4 * 2**20
"""So much of a file has its first line, which is 1 MiB at most."""
UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1)}
LONGEST_WINDOW = timedelta(days=30)


def window_of(text: str) -> timedelta:
    """Read a completion window, such as 24h or 7d.

    Raises:
        InputError: it is none, or longer than 30 days.
    """
    match = re.fullmatch("([1-9][0-9]{0,2})([hd])", text)
    window = int(match[1]) * UNITS[match[2]] if match else None
    if window is None or window > LONGEST_WINDOW:
        raise InputError("completion_window: must be hours or days, such as 24h or 7d, 30d at most")
    return window


def first_model(store: ObjectStore, file: FileView) -> str | None:
    """Return which model the first line of a file asks for; None if that cannot be told.

    Raises:
        ServiceUnavailableError: the store does not answer.
    """
    with tempfile.TemporaryFile(prefix="tenstep-") as head:
        for block in store.blocks(file.object_key):
            head.write(block)
            if head.tell() >= HEAD_BYTES:
                break
        try:
            for group in line_groups(content_of(head, file.name).blocks()):
                for line in group.lines:
                    if line.strip():
                        return _model_in(line)
        except InputError:  # broken, or cut where it cannot be: whoever reads all of it tells
            return None
    return None


def _model_in(line: bytes) -> str | None:
    try:
        found = from_json(line)
    except ValueError:
        return None
    body = found.get("body") if isinstance(found, dict) else None
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) else None


def batch_objects(session: Session, requests: Sequence[BatchRequest]) -> list[dict[str, Any]]:
    """Describe batches; ids are those of the tables."""
    ids = [request.id for request in requests]
    tallies: Mapping[UUID, BatchTally] = read_tallies(session, ids) if ids else {}
    device_ns: Counter[UUID | None] = Counter()
    for row in read_costs(session, batch_ids=ids) if ids else ():
        device_ns[row.batch_id] += row.booked.device_ns
    batches = {
        request.id: session.get(Batch, request.id)
        for request in requests
        if request.state not in REQUEST_ENDS
    }
    return [
        _batch_object(
            request,
            batches.get(request.id),
            tallies.get(request.id, NOTHING),
            device_ns[request.id],
        )
        for request in requests
    ]


def _batch_object(
    request: BatchRequest, batch: Batch | None, tally: BatchTally, device_ns: int
) -> dict[str, Any]:
    ended = request.ended_at if request.state in REQUEST_ENDS else None
    return {
        "id": request.id,
        "object": "batch",
        "endpoint": request.endpoint,
        "model": request.options["model"],
        "errors": request.errors and {"object": "list", "data": request.errors["data"]},
        "input_file_id": request.input_file_id,
        "completion_window": request.completion_window,
        "status": request.state,
        # Chosen before the files are there.
        "output_file_id": request.output_file_id if ended else None,
        "error_file_id": request.error_file_id if ended else None,
        "created_at": _seconds(request.created_at),
        "in_progress_at": _seconds(request.in_progress_at),
        "expires_at": _seconds(request.expires_at),
        "finalizing_at": _seconds(request.finalizing_at),
        "cancelling_at": _seconds(request.cancelling_at),
        **{
            f"{end.value}_at": _seconds(ended) if request.state == end else None
            for end in (
                *(RequestState.COMPLETED, RequestState.FAILED),
                *(RequestState.EXPIRED, RequestState.CANCELLED),
            )
        },
        "request_counts": _counts(request, batch, tally),
        "metadata": request.client_metadata,
        "usage": {
            "input_tokens": 0,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 0,
            "device_seconds": seconds(device_ns),
            "cost_usd": usd(tally.nanodollars),
            "cost_nanodollars": tally.nanodollars,
        },
    }


def _counts(request: BatchRequest, batch: Batch | None, tally: BatchTally) -> dict[str, int]:
    """Count requests: exactly at the end; before, as images are shared out among them."""
    if request.completed is not None:
        failed = request.requests - request.completed
        return {"total": request.requests, "completed": request.completed, "failed": failed}
    if request.state in REQUEST_ENDS or batch is None:
        return {"total": request.requests, "completed": 0, "failed": request.requests}
    refused = batch.client.get("rejected", {"count": 0})["count"]
    good = max(0, request.requests - refused)
    lost = tally.counts[JobState.FAILED] + tally.counts[JobState.CANCELLED]
    images = max(1, tally.total)
    return {
        "total": request.requests,
        "completed": tally.counts[JobState.DONE] * good // images,
        "failed": refused + lost * good // images,
    }


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
