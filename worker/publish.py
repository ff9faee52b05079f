"""An image into the store, then into the books."""

from __future__ import annotations

import time
from dataclasses import replace

import structlog

from shared.db.outcomes import PhaseTimes, StoredImage, record_done
from shared.domain.fingerprint import image_fingerprint
from shared.domain.jobs import CONTENT_FLAGGED
from shared.errors import PermanentRenderError
from shared.storage.base import image_key, sha256_of
from shared.version import VERSION
from worker.drawing import Drawing
from worker.images.png import encode_png
from worker.passes import Drawn
from worker.patience import patiently
from worker.runtime import Runtime

log = structlog.get_logger()


class ContentFlaggedError(PermanentRenderError):
    """The checkpoint's safety checker wants an image not to be shown."""

    code = CONTENT_FLAGGED


def publish(runtime: Runtime, drawn: Drawn, drawing: Drawing) -> None:
    """Store an image by its content, and only then call its job done.

    Waits for a store or a database that is away; the lease is renewed meanwhile.

    Raises:
        ContentFlaggedError: the image was flagged; it is not stored.
        ServiceUnavailableError: the store was away for longer than the settings allow.
    """
    if drawing.is_flagged:
        raise ContentFlaggedError("the model's safety checker flagged the image")
    patience = runtime.settings.outage_patience_seconds
    begin = time.perf_counter_ns()
    png = encode_png(drawing.pixels, drawn.settings, drawing.timesteps, runtime.drawn_by)
    encoded = time.perf_counter_ns()
    sha256 = sha256_of(png)
    image = StoredImage(
        key=image_key(sha256),
        sha256=sha256,
        bytes=len(png),
        fingerprint=image_fingerprint(drawn.held.job, runtime.drawn_by.weights_sha256),
    )
    patiently(lambda: runtime.store.put(image.key, png, "image/png"), patience)
    uploaded = time.perf_counter_ns()
    times = replace(drawn.times, png_encode_ns=encoded - begin, upload_ns=uploaded - encoded)
    is_ours = patiently(lambda: _record(runtime, drawn, drawing, image, times), patience)
    log.info(
        "image_done" if is_ours else "image_came_too_late",
        job_id=str(drawn.held.job.id),
        device_ms=times.device_ns // 1_000_000,
    )


def _record(
    runtime: Runtime, drawn: Drawn, drawing: Drawing, image: StoredImage, times: PhaseTimes
) -> bool:
    record = {
        **runtime.drawn_by.model_dump(),
        "timesteps": drawing.timesteps,
        "prompt_lost": drawing.prompt_lost,
        "negative_prompt_lost": drawing.negative_prompt_lost,
        "safety_checker": None if drawing.is_flagged is None else "passed",
        "tenstep": VERSION,
    }
    with runtime.database.write() as session:
        now = runtime.database.now(session)
        return record_done(session, drawn.held, image, times, record, now)
