"""An image into the store."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import structlog

from shared.db.many_outcomes import DoneJob
from shared.db.outcomes import THUMBNAIL, StoredImage
from shared.domain.fingerprint import image_fingerprint
from shared.domain.jobs import CONTENT_FLAGGED
from shared.errors import PermanentRenderError, ServiceUnavailableError
from shared.storage.base import image_key, sha256_of, thumbnail_key
from shared.thumbnail import CONTENT_TYPE
from shared.version import VERSION
from worker.drawing import Drawing
from worker.images.png import encode_png
from worker.images.thumbnail import encode_thumbnail
from worker.passes import Drawn
from worker.patience import patiently
from worker.runtime import Runtime

log = structlog.get_logger()


class ContentFlaggedError(PermanentRenderError):
    """The checkpoint's safety checker wants an image not to be shown."""

    code = CONTENT_FLAGGED


def publish(runtime: Runtime, drawn: Drawn, drawing: Drawing) -> DoneJob:
    """Store an image by its content, and its thumbnail.

    Waits for a store that is away; the lease is renewed meanwhile. Nothing waits for the
    thumbnail: who looks for one that is not there makes it of the image.

    Returns:
        What is to be written down: only then is the job done.

    Raises:
        ContentFlaggedError: the image was flagged; it is not stored.
        ServiceUnavailableError: the store was away for longer than the settings allow.
    """
    if drawing.is_flagged:
        raise ContentFlaggedError("the model's safety checker flagged the image")
    patience = runtime.settings.outage_patience_seconds
    begin = time.perf_counter_ns()
    png = encode_png(drawing.pixels, drawn.settings, drawing.timesteps, runtime.drawn_by)
    small = encode_thumbnail(drawing.pixels) if runtime.settings.thumbnails else b""
    encoded = time.perf_counter_ns()
    sha256 = sha256_of(png)
    key = image_key(sha256)
    patiently(lambda: runtime.store.put(key, png, "image/png"), patience)
    image = StoredImage(
        key=key,
        sha256=sha256,
        bytes=len(png),
        fingerprint=image_fingerprint(
            drawn.held.job, runtime.drawn_by.weights_sha256, drawing.timesteps
        ),
        thumbnail_bytes=_put_thumbnail(runtime, sha256, small) if small else 0,
    )
    uploaded = time.perf_counter_ns()
    times = replace(drawn.times, png_encode_ns=encoded - begin, upload_ns=uploaded - encoded)
    return DoneJob(drawn.held, image, times, _record(runtime, drawing))


def _put_thumbnail(runtime: Runtime, image_sha256: str, data: bytes) -> int:
    """Try once to store a thumbnail; returns how many bytes are stored."""
    key = thumbnail_key(image_sha256)
    try:
        runtime.store.put(key, data, CONTENT_TYPE)
    except ServiceUnavailableError as error:
        log.warning("thumbnail_not_stored", key=key, error=str(error))
        return 0
    return len(data)


def _record(runtime: Runtime, drawing: Drawing) -> dict[str, Any]:
    """Tell what drew an image, and how."""
    return {
        **runtime.drawn_by.model_dump(),
        "timesteps": drawing.timesteps,
        "prompt_lost": drawing.prompt_lost,
        "negative_prompt_lost": drawing.negative_prompt_lost,
        "safety_checker": None if drawing.is_flagged is None else "passed",
        "tenstep": VERSION,
        THUMBNAIL: runtime.settings.thumbnails,
    }
