"""What becomes of a drawn image, or of an error in its place, behind the device's back."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from random import SystemRandom
from uuid import UUID

import structlog

from shared.db.outcomes import record_failure
from shared.domain.rates import Shape
from worker.passes import Drawn
from worker.patience import patiently
from worker.publish import publish
from worker.rates import ImageTime
from worker.retry import decide
from worker.runtime import Runtime

log = structlog.get_logger()


class ChunkTimes:
    """What the images of a chunk take: told to the rates when the last of them is in the books."""

    def __init__(self, runtime: Runtime, chunk_id: UUID, begun_ns: int) -> None:
        """Begin.

        Args:
            runtime: the worker's.
            chunk_id: which.
            begun_ns: when the device was free for it and it was claimed, of
                `time.perf_counter_ns`.
        """
        self._runtime = runtime
        self._chunk_id = chunk_id
        self._begun_ns = begun_ns
        self._wall_ns = 0
        self._lock = threading.Lock()
        self._tried = 0
        self._open = 1
        self._images: list[ImageTime] = []

    def take(self, drawn: Drawn) -> None:
        """Count an image that is on its way."""
        self._runtime.in_hand.take_image(self._chunk_id)
        with self._lock:
            self._tried += 1
            self._open += 1

    def leave_device(self) -> None:
        """There are no more images of this chunk."""
        self._wall_ns = time.perf_counter_ns() - self._begun_ns
        self._close()

    def end(self, image: ImageTime | None) -> None:
        """An image is in the books, or its failure is."""
        with self._lock:
            if image is not None:
                self._images.append(image)
        self._close()
        self._runtime.in_hand.let_go_image(self._chunk_id)

    def _close(self) -> None:
        with self._lock:
            self._open -= 1
            is_over = not self._open
        if is_over and self._tried:
            self._runtime.rates.add_chunk(self._images, self._tried, self._wall_ns)
            self._runtime.news.tell()


def finish(runtime: Runtime, drawn: Drawn, times: ChunkTimes) -> None:
    """Publish an image, or write down why there is none; raises nothing."""
    image: ImageTime | None = None
    try:
        image = _publish_or_fail(runtime, drawn)
    except Exception:
        # The job stays leased; its lease runs out.
        log.exception("outcome_not_written_down", job_id=str(drawn.held.job.id))
    finally:
        times.end(image)


def _publish_or_fail(runtime: Runtime, drawn: Drawn) -> ImageTime | None:
    if isinstance(drawn.outcome, Exception):
        _fail(runtime, drawn, drawn.outcome)
        return None
    try:
        publish(runtime, drawn, drawn.outcome)
    except Exception as error:  # noqa: BLE001 - whatever it is, it ends this attempt alone
        _fail(runtime, drawn, error)
        return None
    asked = drawn.settings
    shape = Shape.of(asked.width, asked.height, asked.steps, asked.squeeze, asked.guidance_scale)
    return ImageTime(shape, drawn.times.device_ns)


def _fail(runtime: Runtime, drawn: Drawn, error: Exception) -> None:
    job = drawn.held.job
    decision = decide(error, job.attempts, runtime.settings.max_attempts, SystemRandom())
    delay = decision.delay_seconds
    log.warning(
        "attempt_failed",
        job_id=str(job.id),
        attempt=job.attempts,
        code=decision.code,
        retry_in_seconds=delay,
        exc_info=error,
    )

    def record() -> None:
        with runtime.database.write() as session:
            now = runtime.database.now(session)
            record_failure(
                session,
                drawn.held,
                code=decision.code,
                message=decision.message,
                retry_at=None if delay is None else now + timedelta(seconds=delay),
                times=drawn.times,
                now=now,
            )

    patiently(record, runtime.settings.outage_patience_seconds)
