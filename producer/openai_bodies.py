"""Images as OpenAI's API answers them: at once, or in the files of a batch."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from producer.amounts import seconds, usd
from producer.image_urls import ImageUrls
from producer.manifest.jobs import JobFacts

OUTPUT_FORMAT = "png"
NO_TOKENS = {"image_tokens": 0, "text_tokens": 0}


@dataclass(frozen=True, slots=True)
class Places:
    """Where images can be had."""

    urls: ImageUrls
    base_url: str
    """The server's, as the client calls it."""
    signed_at: datetime
    """From when on URLs are good."""


def images_body(
    facts: Sequence[JobFacts],
    places: Places,
    in_place: Mapping[str, bytes] | None,
    there: Sequence[JobFacts],
) -> dict[str, Any]:
    """Describe the images of one request: the same each time.

    Args:
        facts: all of its jobs: what they have cost is told.
        places: where images can be had.
        in_place: images by key, to be sent themselves; None sends URLs.
        there: the jobs whose images are there, at least one.
    """
    first = there[0].job
    drawn_at = max(one.job.finished_at for one in there if one.job.finished_at is not None)
    return {
        "created": int(drawn_at.timestamp()),
        "data": [_image(one, places, in_place) for one in there],
        "output_format": OUTPUT_FORMAT,
        "size": f"{first.width}x{first.height}",
        "usage": usage_of(facts),
    }


def usage_of(facts: Sequence[JobFacts]) -> dict[str, Any]:
    """Tell what a request has cost, failed attempts too; there are no tokens in it."""
    device_ns = sum(
        one.attempt.device_ns or 0
        for one in facts
        if one.attempt is not None and one.job.reused_from is None
    )
    nanodollars = sum(one.cost_nanodollars for one in facts)
    return {
        "input_tokens": 0,
        "input_tokens_details": NO_TOKENS,
        "output_tokens": 0,
        "output_tokens_details": NO_TOKENS,
        "total_tokens": 0,
        "device_seconds": seconds(device_ns),
        "cost_usd": usd(nanodollars),
        "cost_nanodollars": nanodollars,
    }


def _image(one: JobFacts, places: Places, in_place: Mapping[str, bytes] | None) -> dict[str, str]:
    job = one.job
    if in_place is not None and job.image_key is not None:
        return {"b64_json": base64.b64encode(in_place[job.image_key]).decode("ascii")}
    return {"url": places.urls.url(places.base_url, job.id, places.signed_at)}
