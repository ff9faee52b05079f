"""What can be asked of a server, each as one request and one document."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote as quoted
from uuid import UUID

from producer.client import uploads
from producer.client.answers import document, plain
from producer.client.steps import LONG_SECONDS, Call, Operation, Send
from producer.wire.batches import BatchDocument, Changed, NewBatchOut
from producer.wire.costs import BillOut, CostReportOut, QuotesOut
from producer.wire.fleet import FleetOut, ModelList, PriceBookOut, WorkerList, WorkerOut
from producer.wire.jobs import JobDocument
from shared.domain.identifiers import new_id
from shared.domain.jobs import BatchControl
from shared.errors import InputError

LEFT_AS_IT_IS: Any = object()
"""A default that is no value: None means none."""

Prompts = Sequence[str | dict[str, Any]]
"""Prompts, or lines of a JSONL file as objects."""
Source = str | Path | BinaryIO


def submit(
    prompts: Prompts | None = None,
    *,
    file: Source | None = None,
    file_id: UUID | None = None,
    format: str | None = None,  # noqa: A002 - as the API calls it
    idempotency_key: str | None = None,
    **options: Any,
) -> Operation[NewBatchOut]:
    """Submit a batch of prompts, of a file here, or of one that was uploaded.

    Args:
        prompts: at most 10,000; they are written before this returns.
        file: is uploaded first. It is read after this has returned: until then the batch's
            state is ``validating``.
        file_id: of an uploaded file.
        format: how the file is written, if its name does not tell.
        idempotency_key: the same is the same batch; default a random one, so that a request
            whose answer was lost is safely sent again.
        options: the fields of `producer.batch_options.BatchOptions`, such as ``steps``.

    Raises:
        InputError: there is not one source of prompts, or what is asked for is wrong.
        RefusedLinesError: no line can be drawn.
        ServiceUnavailableError: the server does not answer.
    """
    source = yield from _source(prompts, file, file_id, format)
    call = Call(
        "POST",
        "/api/batches",
        json={**source, **options},
        headers={"Idempotency-Key": idempotency_key or str(new_id())},
        silence_seconds=LONG_SECONDS,
    )
    return document(NewBatchOut, (yield Send(call)))


def quote(
    prompts: Prompts | None = None,
    *,
    file: Source | None = None,
    file_id: UUID | None = None,
    format: str | None = None,  # noqa: A002 - as the API calls it
    **options: Any,
) -> Operation[QuotesOut]:
    """Ask what prompts would cost; the arguments are those of `submit`."""
    source = yield from _source(prompts, file, file_id, format)
    call = Call("POST", "/api/quotes", json={**source, **options}, silence_seconds=LONG_SECONDS)
    return document(QuotesOut, (yield Send(call)))


def _source(
    prompts: Prompts | None,
    file: Source | None,
    file_id: UUID | None,
    prompt_format: str | None,
) -> Operation[dict[str, Any]]:
    if sum(given is not None for given in (prompts, file, file_id)) != 1:
        raise InputError("give one of prompts, file and file_id")
    if prompts is not None:
        return {"prompts": list(prompts)}
    if file is not None:
        file_id = (yield from uploads.upload(file)).file_id
    return {"file_id": str(file_id), "format": prompt_format}


def remove_file(file_id: UUID) -> Operation[None]:
    """Remove an uploaded file; the batches that were made of it stay."""
    yield Send(Call("DELETE", f"/api/files/{file_id}"))


def batch(batch_id: UUID) -> Operation[BatchDocument]:
    """Return a batch's status."""
    response = yield Send(Call("GET", f"/api/batches/{batch_id}"))
    return document(BatchDocument, response)


def job(batch_id: UUID, name: str | int) -> Operation[JobDocument]:
    """Return all that is known of a job.

    Args:
        batch_id: whose.
        name: its custom_id, or its position.
    """
    path = f"/api/batches/{batch_id}/jobs/{quoted(str(name), safe='')}"
    return document(JobDocument, (yield Send(Call("GET", path))))


def cancel(batch_id: UUID, jobs: Sequence[str] = ()) -> Operation[Changed]:
    """Call off what is not drawn yet of a batch, or of some of its jobs, for good."""
    return (yield from _decide(batch_id, "cancel", {"jobs": list(jobs)}))


def retry(batch_id: UUID, jobs: Sequence[str] = ()) -> Operation[Changed]:
    """Try every failed job again, or some that failed or that were called off."""
    return (yield from _decide(batch_id, "retry", {"jobs": list(jobs)}))


def approve(batch_id: UUID) -> Operation[Changed]:
    """Have what is held of a batch drawn."""
    return (yield from _decide(batch_id, "approve", None))


def reject(batch_id: UUID) -> Operation[Changed]:
    """Call off what is held of a batch."""
    return (yield from _decide(batch_id, "reject", None))


def _decide(batch_id: UUID, what: str, body: Any) -> Operation[Changed]:
    path = f"/api/batches/{batch_id}/{what}"
    call = Call("POST", path, json=body, silence_seconds=LONG_SECONDS)
    return document(Changed, (yield Send(call)))


def pause(batch_id: UUID) -> Operation[BatchDocument]:
    """Hand out no more of a batch; what a worker has begun it finishes."""
    return (yield from _change(batch_id, {"control": BatchControl.PAUSED.value}))


def resume(batch_id: UUID) -> Operation[BatchDocument]:
    """Go on with a paused batch."""
    return (yield from _change(batch_id, {"control": BatchControl.ACTIVE.value}))


def change(
    batch_id: UUID,
    *,
    priority: int = LEFT_AS_IT_IS,
    max_cost_usd: str | None = LEFT_AS_IT_IS,
    deadline_hours: float | None = LEFT_AS_IT_IS,
) -> Operation[BatchDocument]:
    """Change a batch; what is left out stays as it is.

    Args:
        batch_id: which.
        priority: higher goes before lower.
        max_cost_usd: an exact amount such as ``"12.50"``; None lifts the limit.
        deadline_hours: from now on; None is no deadline.
    """
    given = {
        "priority": priority,
        "max_cost_usd": max_cost_usd,
        "deadline_hours": deadline_hours,
    }
    changes = {name: value for name, value in given.items() if value is not LEFT_AS_IT_IS}
    return (yield from _change(batch_id, changes))


def _change(batch_id: UUID, changes: dict[str, Any]) -> Operation[BatchDocument]:
    call = Call("PATCH", f"/api/batches/{batch_id}", json=changes)
    return document(BatchDocument, (yield Send(call)))


def bill(batch_id: UUID) -> Operation[BillOut]:
    """Return what a batch has cost, line by line."""
    response = yield Send(Call("GET", f"/api/batches/{batch_id}/bill"))
    return document(BillOut, response)


def costs(
    by: str = "batch",
    *,
    batch_id: UUID | None = None,
    since: date | None = None,
    until: date | None = None,
    tag: str | None = None,
    tenant: str | None = None,
    limit: int | None = None,
) -> Operation[CostReportOut]:
    """Return what was spent on what.

    Args:
        by: batch, model, device, worker, tenant, tag or day.
        batch_id: only what it cost.
        since: the first day, in UTC.
        until: the last day.
        tag: only batches with this ``key=value``.
        tenant: only whose batches; for admins.
        limit: groups at most; the others are one sum.
    """
    params = {
        "by": by,
        "batch_id": batch_id,
        "since": since,
        "until": until,
        "tag": tag,
        "tenant": tenant,
        "limit": limit,
    }
    response = yield Send(Call("GET", "/api/costs", params))
    return document(CostReportOut, response)


def workers(*, alive: bool = True, limit: int = 100) -> Operation[WorkerList]:
    """Return the newest workers; for admins."""
    call = Call("GET", "/api/workers", {"alive": alive, "limit": limit})
    return document(WorkerList, (yield Send(call)))


def fleet() -> Operation[FleetOut]:
    """Return what each worker does, and which devices are out; for admins."""
    return document(FleetOut, (yield Send(Call("GET", "/api/fleet"))))


def drain_worker(worker_id: UUID) -> Operation[WorkerOut]:
    """Have a worker take nothing more until it is resumed; for admins."""
    return (yield from _decide_worker(worker_id, "drain"))


def resume_worker(worker_id: UUID) -> Operation[WorkerOut]:
    """Have a drained worker take jobs again; for admins."""
    return (yield from _decide_worker(worker_id, "resume"))


def _decide_worker(worker_id: UUID, what: str) -> Operation[WorkerOut]:
    return document(WorkerOut, (yield Send(Call("POST", f"/api/workers/{worker_id}/{what}"))))


def prices(*, past: bool = False) -> Operation[PriceBookOut]:
    """Return the price book; ``past`` is with what is no longer in force."""
    call = Call("GET", "/api/prices", {"past": past})
    return document(PriceBookOut, (yield Send(call)))


def models() -> Operation[ModelList]:
    """Return the models that batches can ask for, the default first."""
    return document(ModelList, (yield Send(Call("GET", "/api/models"))))


def ready() -> Operation[dict[str, Any]]:
    """Tell whether the server and all that it needs work."""
    return plain((yield Send(Call("GET", "/readyz"))))
