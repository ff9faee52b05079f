"""``tenstep submit`` through a server: upload, ask for the batch, wait until it is taken in."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

from producer.amounts import usd
from producer.cli.console import print_rejects
from producer.cli.pull_view import counting_view
from producer.cli.remote.prompts import BYTES_UPLOADED, Upload
from producer.cli.submission_view import submission_view
from producer.client import ConflictError
from producer.order import Submission
from producer.progress import Progress
from producer.rejects import RejectedLine, RejectLog, Rejects, rejects_path
from shared.domain.jobs import DEFAULT_TENANT
from shared.errors import InputError

if TYPE_CHECKING:
    from producer.client import Client
    from producer.order import Order
    from producer.wire.batches import BatchDocument
    from shared.settings import Settings

FIRST_LOOK_SECONDS = 0.1
LONGEST_LOOK_SECONDS = 2.0
LOOKS_FOR_REJECTS = 20
"""The list of refused lines may be written a little later than the jobs."""
FAILED = "failed"


def submit_over(
    client: Client,
    settings: Settings,
    upload: Upload,
    order: Order,
    *,
    model: str | None,
    key: str | None,
    quiet: bool,
) -> Submission:
    """Submit a file through a server; returns when all of its jobs are written.

    Raises:
        InputError: it holds no prompt, lines were refused and so all of it was, or the same
            prompts were submitted in another way.
        ServiceUnavailableError: the server does not answer.
    """
    options = options_of(order, model)
    file_id = send(client, upload, quiet=quiet)
    try:
        new = client.submit(
            file_id=file_id,
            format=upload.format,
            idempotency_key=key or _content_key(upload, options),
            **{"name": upload.label, **options},
        )
    except ConflictError as error:
        raise InputError(
            "the same prompts were submitted with another name, priority, deadline, budget or "
            "other tags"
            if key is None
            else error.message,
            hint="Another --key submits them again; tenstep status --all lists the batches.",
        ) from error
    status = _taken_in(client, new.batch_id, upload.name, quiet=quiet)
    rejects = _rejects(client, settings, status, upload.name)
    if status.state == FAILED:
        print_rejects(rejects, as_json=quiet)
        raise InputError(status.errors[0]["message"])
    return Submission(
        status.batch_id,
        status.name,
        status.model,
        status.total,
        rejects,
        was_there=new.was_there,
        reused=new.reused,
        quote=status.quote,
    )


def options_of(order: Order, model: str | None) -> dict[str, Any]:
    """Write an order as a server takes it; what was not said is left to the server.

    Raises:
        InputError: it is another tenant's.
    """
    if order.tenant != DEFAULT_TENANT:
        raise InputError("--tenant: over a server, the key tells whose a batch is")
    hours = None if order.wanted_within is None else order.wanted_within.total_seconds() / 3600
    most = order.max_nanodollars
    chosen = {
        "name": order.name,
        "model": model,
        "priority": order.priority or None,
        "deadline_hours": hours,
        "max_cost_usd": None if most is None else usd(most),
        "tags": dict(order.tags) or None,
        "hold": order.is_held or None,
        "sample": order.sample or None,
        "reuse": order.reuses or None,
    }
    return {
        **order.defaults.model_dump(mode="json", exclude_unset=True),
        **{name: value for name, value in chosen.items() if value is not None},
        "safety_checker": order.safety_checker,
        "takes_good_lines": order.takes_good_lines,
    }


def _content_key(upload: Upload, options: dict[str, Any]) -> str:
    """Hash all that decides the images of a batch, so that the same twice is one batch.

    What it is called, what it may cost and when it is wanted does not: asked for again in
    another way, the server refuses it rather than draw it twice.
    """
    ways = {"name", "priority", "deadline_hours", "max_cost_usd", "tags"}
    decisive = {name: value for name, value in options.items() if name not in ways}
    content = [upload.sha256, upload.format, decisive]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def send(client: Client, upload: Upload, *, quiet: bool) -> UUID:
    """Upload a file, and show how far it is; the same file twice is kept once."""
    with counting_view(quiet=quiet) as report:
        return client.upload(
            upload.file,
            name=upload.label,
            idempotency_key=f"prompts:{upload.sha256}",
            on_progress=lambda sent: report(Progress(BYTES_UPLOADED, sent, upload.size, sent)),
        ).file_id


def _taken_in(client: Client, batch_id: UUID, name: str, *, quiet: bool) -> BatchDocument:
    """Look until all jobs of a batch are written, or it was refused."""
    pause = FIRST_LOOK_SECONDS
    with submission_view(name, quiet=quiet) as show:
        while not (status := client.batch(batch_id)).submitted:
            show(status.total, None)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK_SECONDS)
    return status


def _rejects(client: Client, settings: Settings, status: BatchDocument, name: str) -> Rejects:
    """Fetch the lines that were refused, into a file as a submission here would."""
    for _ in range(LOOKS_FOR_REJECTS):
        log = RejectLog(name, rejects_path(settings, status.batch_id))
        for line in client.rejects(status.batch_id) if status.rejected.count else ():
            log.add(RejectedLine(line.line_number, line.field, line.reason, line.raw))
        rejects = log.close()
        if rejects.count >= status.rejected.count:
            break
        time.sleep(FIRST_LOOK_SECONDS)
    return rejects
