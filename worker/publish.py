"""An image into the store, then into the books."""

from __future__ import annotations

import time
from dataclasses import replace

import structlog

from shared.clock import utc_now
from shared.db.leases import Lease
from shared.db.outcomes import StoredImage, record_done
from shared.domain.jobs import CONTENT_FLAGGED
from shared.domain.prompts import ImageSettings
from shared.errors import PermanentRenderError
from shared.storage.base import image_key, sha256_of
from shared.version import VERSION
from worker.drawing import Drawing
from worker.images.png import encode_png
from worker.runtime import Runtime

log = structlog.get_logger()


class ContentFlaggedError(PermanentRenderError):
    """The checkpoint's safety checker wants an image not to be shown."""

    code = CONTENT_FLAGGED


def publish(runtime: Runtime, held: Lease, settings: ImageSettings, drawing: Drawing) -> None:
    """Store an image by its content, and only then call its job done.

    Raises:
        ContentFlaggedError: the image was flagged; it is not stored.
        ServiceUnavailableError: the store did not take it.
    """
    if drawing.is_flagged:
        raise ContentFlaggedError("the model's safety checker flagged the image")
    begin = time.perf_counter_ns()
    png = encode_png(drawing.pixels, settings, drawing.timesteps, runtime.drawn_by)
    encoded = time.perf_counter_ns()
    sha256 = sha256_of(png)
    image = StoredImage(key=image_key(sha256), sha256=sha256, bytes=len(png))
    runtime.store.put(image.key, png, "image/png")
    uploaded = time.perf_counter_ns()
    times = replace(drawing.times, png_encode_ns=encoded - begin, upload_ns=uploaded - encoded)
    record = {
        **runtime.drawn_by.model_dump(),
        "timesteps": drawing.timesteps,
        "prompt_lost": drawing.prompt_lost,
        "negative_prompt_lost": drawing.negative_prompt_lost,
        "safety_checker": None if drawing.is_flagged is None else "passed",
        "tenstep": VERSION,
    }
    with runtime.database.write() as session:
        is_ours = record_done(session, held, image, times, record, utc_now())
    log.info(
        "image_done" if is_ours else "image_came_too_late",
        job_id=str(held.job.id),
        device_ms=times.device_ns // 1_000_000,
    )
