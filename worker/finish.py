"""What becomes of a drawn image, or of an error in its place, behind the device's back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from random import SystemRandom
from uuid import UUID

import structlog

from shared.db.leases import Lease
from shared.db.outcomes import PhaseTimes, record_failure
from shared.domain.prompts import ImageSettings
from shared.domain.quality import Quality
from shared.domain.rates import Shape
from worker.bookkeeper import Done
from worker.log_context import about_attempt
from worker.passes import Drawn
from worker.patience import OUTAGES, patiently
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
        if self._runtime.in_hand.is_empty:
            # Nobody knows for how long: what was measured is written down while it can be.
            self._runtime.news.tell()

    def _close(self) -> None:
        with self._lock:
            self._open -= 1
            is_over = not self._open
        if is_over and self._tried:
            self._runtime.rates.add_chunk(self._images, self._tried, self._wall_ns)


def finish(runtime: Runtime, drawn: Drawn, times: ChunkTimes, over: Callable[[], None]) -> None:
    """Publish an image and have it written down, or write down why there is none.

    Args:
        runtime: the worker's.
        drawn: what came from the device.
        times: the chunk's.
        over: called when that is done; nothing is raised.
    """

    def end(image: ImageTime | None) -> None:
        times.end(image)
        over()

    begun_ns = time.perf_counter_ns()
    with about_attempt(runtime, drawn.held):
        try:
            if isinstance(drawn.outcome, Exception):
                raise drawn.outcome  # noqa: TRY301 - it is dealt with like an error of the store's
            job = publish(runtime, drawn, drawn.outcome)
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this attempt alone
            _fail(runtime, drawn, begun_ns, error)
            end(None)
            return
    tell = partial(_is_written, runtime, drawn, begun_ns, job.times, end)
    runtime.bookkeeper.add(Done(job, tell))


def fail_all(
    runtime: Runtime, leases: Sequence[Lease], failure: Exception, times: ChunkTimes
) -> None:
    """Have the attempts at all jobs of a chunk end by one error, before any was begun."""
    for held in leases:
        settings = ImageSettings.model_validate(held.job, from_attributes=True)
        drawn = Drawn(held, settings, failure, PhaseTimes())
        times.take(drawn)
        runtime.outbox.put(partial(finish, runtime, drawn, times))
    times.leave_device()


def _is_written(
    runtime: Runtime,
    drawn: Drawn,
    begun_ns: int,
    times: PhaseTimes,
    end: Callable[[ImageTime | None], None],
    came_in_time: bool | Exception,  # noqa: FBT001 - an answer, not a switch
) -> None:
    """Hear what became of an image in the books."""
    with about_attempt(runtime, drawn.held):
        if isinstance(came_in_time, OUTAGES):
            # Nothing can be written down: the lease runs out.
            log.error("outcome_not_written_down", exc_info=came_in_time)
            end(None)
            return
        if isinstance(came_in_time, Exception):
            _fail(runtime, drawn, begun_ns, came_in_time)
            end(None)
            return
        what = "image_done" if came_in_time else "image_came_too_late"
        log.info(what, device_ms=times.device_ns // 1_000_000)
    if runtime.trace is not None:
        runtime.trace.note_image(drawn.held, begun_ns, times, what.removeprefix("image_"))
    if came_in_time:
        runtime.rates.add_phases(times)
    asked = drawn.settings
    if asked.quality is not Quality.EXACT:  # its time would be taken for an exact image's
        end(None)
        return
    end(ImageTime(Shape.of_image(asked), drawn.times.device_ns))


def _fail(runtime: Runtime, drawn: Drawn, begun_ns: int, error: Exception) -> None:
    job = drawn.held.job
    decision = decide(error, job.attempts, runtime.settings.max_attempts, SystemRandom())
    delay = decision.delay_seconds
    log.warning(
        "attempt_failed",
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

    try:
        patiently(record, runtime.settings.outage_patience_seconds)
    except Exception:
        # The job stays leased; its lease runs out.
        log.exception("outcome_not_written_down")
    if runtime.trace is not None:
        runtime.trace.note_failure(drawn.held, begun_ns, decision.code)
