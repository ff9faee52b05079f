"""One chunk, from the message to the books: claim, draw, publish."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from random import SystemRandom

import structlog

from shared.clock import utc_now
from shared.db.fleet import is_draining
from shared.db.leases import Lease, claim_chunk, return_jobs, still_held
from shared.db.ledger import charge_model_load
from shared.db.outcomes import PhaseTimes, record_failure
from shared.db.tables import Batch, Worker
from shared.domain.prompts import ImageSettings
from shared.messaging.contracts import RenderChunk
from worker.publish import publish
from worker.retry import decide
from worker.runtime import Runtime

log = structlog.get_logger()

PUBLISHERS = 2


def render_chunk(runtime: Runtime, message: RenderChunk) -> None:
    """Draw what is still pending of a chunk. A duplicate message finds nothing to do."""
    leases = _claim(runtime, message)
    if not leases:
        log.info("chunk_has_nothing_to_claim", chunk_id=str(message.chunk_id))
        return
    runtime.in_hand.chunk_id = message.chunk_id
    try:
        with ThreadPoolExecutor(PUBLISHERS, thread_name_prefix="publish") as publishers:
            check_safety = _is_checked(runtime, leases[0])
            published = _draw_each(runtime, leases, publishers, check_safety=check_safety)
            wait(published)
    finally:
        runtime.in_hand.chunk_id = None
    for outcome in published:
        outcome.result()


def _claim(runtime: Runtime, message: RenderChunk) -> list[Lease]:
    now = utc_now()
    with runtime.database.write() as session:
        if is_draining(session, runtime.worker_id):
            return []
        leases = claim_chunk(session, message.chunk_id, runtime.worker_id, now, runtime.lease)
        if leases:
            worker = session.get_one(Worker, runtime.worker_id)
            charge_model_load(session, worker, leases[0].job.batch_id, runtime.load_ns, now)
    return leases


def _is_checked(runtime: Runtime, held: Lease) -> bool:
    with runtime.database.read() as session:
        return session.get_one(Batch, held.job.batch_id).safety_checker


def _draw_each(
    runtime: Runtime,
    leases: Sequence[Lease],
    publishers: ThreadPoolExecutor,
    *,
    check_safety: bool,
) -> list[Future[None]]:
    """Draw image by image, so that none depends on its neighbours; publish meanwhile.

    Between two images the database is asked whether the next is still wanted.
    """
    published: list[Future[None]] = []
    for index, held in enumerate(leases):
        with runtime.database.read() as session:
            drains = is_draining(session, runtime.worker_id)
            is_wanted = bool(still_held(session, [held]))
        if drains:
            with runtime.database.write() as session:
                return_jobs(session, leases[index:], utc_now())
            break
        if is_wanted:
            published.append(_draw(runtime, held, publishers, check_safety=check_safety))
    return published


def _draw(
    runtime: Runtime, held: Lease, publishers: ThreadPoolExecutor, *, check_safety: bool
) -> Future[None]:
    settings = ImageSettings.model_validate(held.job, from_attributes=True)
    begin = time.perf_counter_ns()
    try:
        [drawing] = runtime.pipeline.draw([settings], check_safety=check_safety)
    except Exception as error:  # noqa: BLE001 - a driver may raise anything: it ends this attempt
        # Nobody knows in which phase it was; the device was held all the same.
        wasted = PhaseTimes(denoise_ns=time.perf_counter_ns() - begin)
        return publishers.submit(_fail, runtime, held, error, wasted)

    def publish_or_fail() -> None:
        try:
            publish(runtime, held, settings, drawing)
        except Exception as error:  # noqa: BLE001 - as above
            _fail(runtime, held, error, drawing.times)

    return publishers.submit(publish_or_fail)


def _fail(runtime: Runtime, held: Lease, error: Exception, times: PhaseTimes) -> None:
    decision = decide(error, held.job.attempts, runtime.settings.max_attempts, SystemRandom())
    now = utc_now()
    delay = decision.delay_seconds
    log.warning(
        "attempt_failed",
        job_id=str(held.job.id),
        attempt=held.job.attempts,
        code=decision.code,
        retry_in_seconds=delay,
        exc_info=error,
    )
    with runtime.database.write() as session:
        record_failure(
            session,
            held,
            code=decision.code,
            message=decision.message,
            retry_at=None if delay is None else now + timedelta(seconds=delay),
            times=times,
            now=now,
        )
