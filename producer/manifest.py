"""``manifest.jsonl``: a line for each job of a batch, in order, with all that is known of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from producer.amounts import usd
from producer.costs import costs_by_job
from shared.db.tables import Attempt, Batch, Job
from shared.domain.jobs import CONTENT_FLAGGED, AttemptOutcome
from shared.domain.money import NANOSECONDS

ROWS_A_FETCH = 256
PHASES = ("queue_wait", "text_encode", "denoise", "decode", "safety_check", "png_encode", "upload")

NameOfPulled = Callable[[int, str], str | None]
"""From position and prompt to the file's name, or None if there is no file."""


def manifest_lines(
    session: Session, batch_id: UUID, name_of_pulled: NameOfPulled
) -> Iterator[dict[str, Any]]:
    """Yield the lines as plain values."""
    model = session.get_one(Batch, batch_id).model
    booked = costs_by_job(batch_id)
    is_winner = and_(Attempt.job_id == Job.id, Attempt.outcome == AttemptOutcome.DONE)
    rows = session.execute(
        select(Job, Attempt, func.coalesce(booked.c.nanodollars, 0))
        .outerjoin(Attempt, is_winner)
        .outerjoin(booked, booked.c.job_id == Job.id)
        .where(Job.batch_id == batch_id)
        .order_by(Job.position),
        execution_options={"yield_per": ROWS_A_FETCH},
    )
    for job, attempt, nanodollars in rows:
        yield {
            **_asked(job),
            "model": model,
            "state": job.state,
            "file": name_of_pulled(job.position, job.prompt),
            "sha256": job.image_sha256,
            "bytes": job.image_bytes,
            "attempts": job.attempts,
            # All attempts at this image, so that the manifest adds up to the bill.
            "cost_nanodollars": int(nanodollars),
            "cost_usd": usd(int(nanodollars)),
            "attempt": _attempt(attempt) if attempt else None,
            **_verdicts(job, attempt),
            "error": _error(job),
        }


def _asked(job: Job) -> dict[str, Any]:
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
        "metadata": job.details,
    }


def _verdicts(job: Job, attempt: Attempt | None) -> dict[str, str | None]:
    """Tell what the model had no room for, and what its safety checker said."""
    record = (attempt.record if attempt else None) or {}
    is_flagged = job.error_code == CONTENT_FLAGGED
    return {
        "prompt_lost": record.get("prompt_lost") or None,
        "negative_prompt_lost": record.get("negative_prompt_lost") or None,
        "safety_checker": "flagged" if is_flagged else record.get("safety_checker"),
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    """Describe the attempt that gave the image."""
    cost = attempt.cost_nanodollars or 0
    return {
        "number": attempt.number,
        "device_kind": attempt.device_kind,
        "device_name": attempt.device_name,
        "finished_at": attempt.finished_at.isoformat() if attempt.finished_at else None,
        "seconds": {phase: _seconds(getattr(attempt, f"{phase}_ns")) for phase in PHASES},
        "device_seconds": _seconds(attempt.device_ns),
        "cost_nanodollars": cost,
        "cost_usd": usd(cost),
        "record": attempt.record,
    }


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / NANOSECONDS


def _error(job: Job) -> dict[str, str | None] | None:
    if job.error_code is None:
        return None
    return {"code": job.error_code, "message": job.error_message}
