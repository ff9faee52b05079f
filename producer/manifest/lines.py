"""A line of ``manifest.jsonl``."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from pydantic_core import to_json

from producer.amounts import usd
from producer.manifest.jobs import (
    RECORDS_REMEMBERED,
    AttemptRow,
    JobFacts,
    JobRow,
    Place,
    record_of,
)
from shared.domain.money import NANOSECONDS


def manifest_line(facts: JobFacts, place: Place | None) -> bytes:
    """Write all that is known of a job as JSON in UTF-8, without a line break.

    Args:
        facts: the job.
        place: where its image was pulled to, if it was.
    """
    job = facts.job
    drawn_by = record_of(facts.attempt)
    known = {
        **_asked(job),
        "model": facts.model,
        "state": job.state,
        "file": place.file if place else None,
        "shard": place.shard if place else None,
        "key": job.image_key,
        "sha256": job.image_sha256,
        "bytes": job.image_bytes,
        "reused_from": str(job.reused_from) if job.reused_from else None,
        "attempts": job.attempts,
        # All attempts at this image, so that the manifest adds up to the bill.
        "cost_nanodollars": facts.cost_nanodollars,
        "cost_usd": usd(facts.cost_nanodollars),
        "prompt_lost": drawn_by.get("prompt_lost") or None,
        "negative_prompt_lost": drawn_by.get("negative_prompt_lost") or None,
        "safety_checker": facts.safety_checker,
        "error": _error(job),
        "attempt": _attempt(facts.attempt) if facts.attempt else None,
    }
    # What is JSON already is not read and written again: there may be millions of lines.
    metadata = _on_a_line(job.metadata)
    if facts.attempt is None:
        return b'%b,"metadata":%b}' % (to_json(known)[:-1], metadata)
    record = _written_again(facts.attempt.record or "null")
    return b'%b,"record":%b},"metadata":%b}' % (to_json(known)[:-2], record, metadata)


def _asked(job: JobRow) -> dict[str, Any]:
    return {
        "position": job.position,
        "custom_id": job.custom_id,
        "source_line": job.source_line,
        "prompt": job.prompt,
        "negative_prompt": job.negative_prompt,
        "seed": job.seed,
        "width": job.width,
        "height": job.height,
        "scheduler": job.scheduler,
        "steps": job.steps,
        "squeeze": job.squeeze,
        "guidance_scale": job.guidance_scale,
        "guidance_rescale": job.guidance_rescale,
        "quality": job.quality,
    }


def _attempt(attempt: AttemptRow) -> dict[str, Any]:
    """Describe the attempt that gave the image."""
    cost = attempt.cost_nanodollars or 0
    return {
        "number": attempt.number,
        "device_kind": attempt.device_kind,
        "device_name": attempt.device_name,
        "finished_at": attempt.finished_at.isoformat() if attempt.finished_at else None,
        "seconds": {
            "queue_wait": _seconds(attempt.queue_wait_ns),
            "text_encode": _seconds(attempt.text_encode_ns),
            "denoise": _seconds(attempt.denoise_ns),
            "decode": _seconds(attempt.decode_ns),
            "safety_check": _seconds(attempt.safety_check_ns),
            "png_encode": _seconds(attempt.png_encode_ns),
            "upload": _seconds(attempt.upload_ns),
        },
        "device_seconds": _seconds(attempt.device_ns),
        "cost_nanodollars": cost,
        "cost_usd": usd(cost),
    }


@lru_cache(RECORDS_REMEMBERED)
def _written_again(document: str) -> bytes:
    return to_json(json.loads(document))


def _on_a_line(metadata: str) -> bytes:
    return to_json(json.loads(metadata)) if "\n" in metadata else metadata.encode()


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / NANOSECONDS


def _error(job: JobRow) -> dict[str, str | None] | None:
    if job.error_code is None:
        return None
    return {"code": job.error_code, "message": job.error_message}
