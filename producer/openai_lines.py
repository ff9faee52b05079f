"""The lines of the files that come of a batch in OpenAI's form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple
from uuid import UUID

from pydantic_core import from_json

from producer.manifest.jobs import JobFacts
from producer.openai_bodies import Places, images_body
from producer.prompt_openai import RESPONSE_FORMAT
from shared.domain.jobs import JobState


class Reason(NamedTuple):
    """Why there is no image."""

    code: str
    message: str


BATCH_EXPIRED = Reason("batch_expired", "The completion window was over before it was drawn.")
BATCH_CANCELLED = Reason("batch_cancelled", "The batch was cancelled before it was drawn.")
CALLED_OFF = Reason("cancelled", "It was called off.")
NOT_ENDED = Reason("not_ended", "It is being tried again.")
IMAGE_GONE = Reason("image_gone", "Its image was drawn, and is not in the store any more.")
INVALID_LINE = "invalid_line"


class ResultLine(NamedTuple):
    """What became of one request."""

    is_output: bool
    """Whether all of its images are there: then it goes to the file of outputs."""
    document: Mapping[str, Any]


def sends_images(facts: Sequence[JobFacts]) -> bool:
    """Tell whether a request wants its images themselves, and not URLs."""
    metadata = facts[0].job.metadata
    return RESPONSE_FORMAT in metadata and RESPONSE_FORMAT in json.loads(metadata)


def drawn_line(
    facts: Sequence[JobFacts],
    places: Places,
    in_place: Mapping[str, bytes] | None,
    undone: Reason,
    *,
    wanted: int | None = None,
) -> ResultLine:
    """Tell what became of a request that has jobs.

    Args:
        facts: its jobs.
        places: where images can be had.
        in_place: the images by key, of those that are still there; None sends URLs.
        undone: why jobs were called off.
        wanted: how many images it asked for, if not all of its jobs were written.
    """
    there = [one for one in facts if _is_there(one, in_place)]
    missing = [_reason(one, undone) for one in facts if not _is_there(one, in_place)]
    if wanted is not None:
        missing += [undone] * (wanted - len(facts))
    job_id = facts[0].job.id
    response = None
    if there:
        status = HTTPStatus.INTERNAL_SERVER_ERROR if missing else HTTPStatus.OK
        body = images_body(facts, places, in_place, there)
        response = {"status_code": status, "request_id": f"req_{job_id.hex}", "body": body}
    line = _line(f"batch_req_{job_id.hex}", facts[0].job.custom_id, response, None)
    if not missing:
        return ResultLine(is_output=True, document=line)
    code, message = missing[0]
    if there:
        message = f"{len(missing)} of {len(missing) + len(there)} images are missing: {message}"
    return ResultLine(
        is_output=False, document={**line, "error": {"code": code, "message": message}}
    )


def undrawn_line(
    batch_id: UUID, line_number: int, custom_id: str | None, reason: Reason
) -> ResultLine:
    """Tell of a line that has no jobs: it was refused, or not read in time."""
    error = {"code": reason.code, "message": reason.message}
    line = _line(f"batch_req_{batch_id.hex}_{line_number}", custom_id, None, error)
    return ResultLine(is_output=False, document=line)


def custom_id_in(raw: str) -> str | None:
    """Read the custom_id of a line that was refused, if it can be read; the line may be cut."""
    try:
        found = from_json(raw, allow_partial=True)
    except ValueError:
        return None
    custom_id = found.get("custom_id") if isinstance(found, dict) else None
    return custom_id if isinstance(custom_id, str) else None


def _line(
    line_id: str,
    custom_id: str | None,
    response: Mapping[str, Any] | None,
    error: Mapping[str, str] | None,
) -> dict[str, Any]:
    return {"id": line_id, "custom_id": custom_id, "response": response, "error": error}


def _is_there(one: JobFacts, in_place: Mapping[str, bytes] | None) -> bool:
    if one.job.state != JobState.DONE:
        return False
    return in_place is None or one.job.image_key in in_place


def _reason(one: JobFacts, undone: Reason) -> Reason:
    match one.job.state:
        case JobState.FAILED:
            return Reason(one.job.error_code or "failed", one.job.error_message or "It failed.")
        case JobState.CANCELLED:
            return undone
        case JobState.DONE:
            return IMAGE_GONE
        case _:
            return NOT_ENDED
