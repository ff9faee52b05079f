"""Lists that a server tells page by page, or line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from uuid import UUID

import httpx

from producer.client.answers import document
from producer.client.retries import unreachable
from producer.client.steps import Call, Emit, Next, Open, Operation, Send, Stream
from producer.wire.batches import BatchLine, BatchList, RejectedLineOut
from producer.wire.jobs import JobLine, JobList
from shared.domain.jobs import JobState
from shared.errors import ServiceUnavailableError

Line = TypeVar("Line")

PAGE = 500
IMAGE = "image/*"


def batches(*, limit: int | None = None, before: UUID | None = None) -> Stream[BatchLine]:
    """Emit batches, newest first.

    Args:
        limit: how many at most; None is all.
        before: leave out this one and all that are newer.
    """
    left = limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        call = Call("GET", "/api/batches", {"limit": size, "before": before})
        page = document(BatchList, (yield Send(call)))
        for one in page.batches:
            yield Emit(one)
        if page.next is None:
            return
        before = page.next
        left = None if left is None else left - len(page.batches)


def job_page(
    batch_id: UUID,
    *,
    state: JobState | str | None = None,
    error: str | None = None,
    text: str | None = None,
    after: int | None = None,
    limit: int = PAGE,
) -> Operation[JobList]:
    """Return one page of a batch's jobs; the arguments are those of `jobs`."""
    params = {"state": state, "error": error, "text": text, "after": after, "limit": limit}
    call = Call("GET", f"/api/batches/{batch_id}/jobs", params)
    return document(JobList, (yield Send(call)))


def jobs(
    batch_id: UUID,
    *,
    state: JobState | str | None = None,
    error: str | None = None,
    text: str | None = None,
    after: int | None = None,
) -> Stream[JobLine]:
    """Emit a batch's jobs in order of position.

    Args:
        batch_id: whose.
        state: only jobs in this state.
        error: only jobs that failed with this code.
        text: only jobs with these words in prompt or custom_id.
        after: begin after this position.
    """
    position = after
    while True:
        page = yield from job_page(batch_id, state=state, error=error, text=text, after=position)
        for job in page.jobs:
            yield Emit(job)
        if page.next is None:
            return
        position = page.next


def image(job_id: UUID) -> Operation[bytes]:
    """Return the PNG of a finished job, from the server or from where it says it is."""
    call = Call("GET", f"/api/jobs/{job_id}/image", headers={"Accept": IMAGE})
    response: httpx.Response = yield Send(call)
    return response.content


def images(batch_id: UUID) -> Stream[tuple[JobLine, bytes]]:
    """Emit every finished job of a batch with its PNG, in order of position."""
    position = None
    while True:
        page = yield from job_page(batch_id, state=JobState.DONE, after=position)
        for job in page.jobs:
            yield Emit((job, (yield from image(job.job_id))))
        if page.next is None:
            return
        position = page.next


def manifest(batch_id: UUID) -> Stream[Mapping[str, Any]]:
    """Emit a line of the manifest for every job of a batch, in order of position."""
    call = Call("GET", f"/api/batches/{batch_id}/manifest")
    return (yield from _lines(call, json.loads))


def rejects(batch_id: UUID) -> Stream[RejectedLineOut]:
    """Emit every line of a batch's file that was refused."""
    call = Call("GET", f"/api/batches/{batch_id}/rejects")
    return (yield from _lines(call, RejectedLineOut.model_validate_json))


def _lines(call: Call, read: Callable[[bytes], Line]) -> Stream[Line]:
    """Emit what is on each line of a response, as it comes.

    Raises:
        ServiceUnavailableError: it broke off: what is missing is not known.
    """
    yield Open(call)
    begun = b""
    while True:
        try:
            block: bytes | None = yield Next()
        except httpx.TransportError as error:
            raise unreachable(error) from error
        *whole, begun = (begun + (block or b"\n")).split(b"\n")
        for line in _read(whole, read):
            yield Emit(line)
        if block is None:
            return


def _read(lines: list[bytes], read: Callable[[bytes], Line]) -> Iterator[Line]:
    for line in lines:
        if line.strip():
            try:
                yield read(line)
            except ValueError as error:
                raise ServiceUnavailableError("the server's lines are not JSON") from error
