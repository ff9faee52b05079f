"""What a gallery shows of a job."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from producer.manifest import JobFacts
from producer.manifest.jobs import record_of
from producer.pull.fetch import UnavailableImageError, fetch_image
from shared.domain.jobs import JobState
from shared.domain.money import format_dollars
from shared.domain.quality import Quality
from shared.storage.base import ObjectStore

THUMBNAIL_PIXELS = 256
SMALL_PIXELS = 128
"""Images up to this size are shown at twice their size."""
QUALITY = 82


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """An image that is part of the page."""

    uri: str
    width: int
    """Pixels on the page."""
    height: int


@dataclass(frozen=True, slots=True)
class Card:
    """One job."""

    position: int
    prompt: str
    thumbnail: Thumbnail | None
    reason: str | None
    """Why there is no image."""
    is_broken: bool
    """There should be an image, and it cannot be had."""
    brief_cost: str
    facts: dict[str, str]
    note: str | None
    """What must be said of the model wherever it is shown."""


def make_card(store: ObjectStore, facts: JobFacts) -> Card:
    """Fetch a job's image and describe the job; may run in a thread of its own.

    Raises:
        ServiceUnavailableError: the store does not answer.
    """
    job = facts.job
    thumbnail, reason = None, job.error_message or job.error_code or f"this job is {job.state}"
    is_done = job.state == JobState.DONE
    if is_done:
        try:
            data = fetch_image(store, job.image_key or "", job.image_sha256 or "")
            thumbnail, reason = _thumbnail(data), ""
        except UnavailableImageError as error:
            reason = str(error)
        except UnidentifiedImageError:
            reason = "what is in the store is no image"
    return Card(
        position=job.position,
        prompt=job.prompt,
        thumbnail=thumbnail,
        reason=reason or None,
        is_broken=is_done and thumbnail is None,
        brief_cost=format_dollars(facts.cost_nanodollars),
        facts=_described(facts),
        note=record_of(facts.attempt).get("note"),
    )


def _described(facts: JobFacts) -> dict[str, str]:
    job, attempt = facts.job, facts.attempt
    known = {
        "number": str(job.position),
        "id": job.custom_id,
        "seed": str(job.seed),
        "size": f"{job.width} x {job.height}",
        "steps": f"{job.steps}" + (f", squeezed {job.squeeze}" if job.squeeze else ""),
        "scheduler": job.scheduler,
        "guidance": f"{job.guidance_scale:g}",
        "quality": job.quality if job.quality != Quality.EXACT else None,
        "without": job.negative_prompt,
        "cost": format_dollars(facts.cost_nanodollars, decimals=9),
        "device": f"{attempt.device_name} ({attempt.device_kind})" if attempt else None,
        "reused": f"from job {job.reused_from}" if job.reused_from else None,
        "attempts": str(job.attempts) if job.attempts > 1 else None,
        "error": job.error_code,
    }
    return {name: value for name, value in known.items() if value}


def _thumbnail(data: bytes) -> Thumbnail:
    with Image.open(io.BytesIO(data)) as image:
        picture = image.convert("RGB")
    is_whole = max(picture.size) <= THUMBNAIL_PIXELS
    picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=is_whole, quality=QUALITY)
    scale = 2 if max(picture.size) <= SMALL_PIXELS else 1
    return Thumbnail(
        uri=f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}",
        width=picture.width * scale,
        height=picture.height * scale,
    )
