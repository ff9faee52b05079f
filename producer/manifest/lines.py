"""A line of ``manifest.jsonl``."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

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

PHASES = ("queue_wait", "text_encode", "denoise", "decode", "safety_check", "png_encode", "upload")

_encode = json.JSONEncoder(ensure_ascii=False).encode


def manifest_line(facts: JobFacts, place: Place | None) -> str:
    """Write all that is known of a job as JSON, without a line break.

    Args:
        facts: the job.
        place: where its image was pulled to, if it was.
    """
    job = facts.job
    record = record_of(facts.attempt)
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
        "prompt_lost": record.get("prompt_lost") or None,
        "negative_prompt_lost": record.get("negative_prompt_lost") or None,
        "safety_checker": facts.safety_checker,
        "error": _error(job),
    }
    attempt = _attempt(facts.attempt) if facts.attempt else "null"
    # What is JSON already is not read and written again: there may be millions of lines.
    return f'{_encode(known)[:-1]}, "metadata": {_on_a_line(job.metadata)}, "attempt": {attempt}}}'


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
    }


def _attempt(attempt: AttemptRow) -> str:
    """Describe the attempt that gave the image."""
    cost = attempt.cost_nanodollars or 0
    known = {
        "number": attempt.number,
        "device_kind": attempt.device_kind,
        "device_name": attempt.device_name,
        "finished_at": attempt.finished_at.isoformat() if attempt.finished_at else None,
        "seconds": {phase: _seconds(getattr(attempt, f"{phase}_ns")) for phase in PHASES},
        "device_seconds": _seconds(attempt.device_ns),
        "cost_nanodollars": cost,
        "cost_usd": usd(cost),
    }
    record = "null" if attempt.record is None else _written_again(attempt.record)
    return f'{_encode(known)[:-1]}, "record": {record}}}'


@lru_cache(RECORDS_REMEMBERED)
def _written_again(record: str) -> str:
    return _encode(json.loads(record))


def _on_a_line(metadata: str) -> str:
    return _encode(json.loads(metadata)) if "\n" in metadata else metadata


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / NANOSECONDS


def _error(job: JobRow) -> dict[str, str | None] | None:
    if job.error_code is None:
        return None
    return {"code": job.error_code, "message": job.error_message}
