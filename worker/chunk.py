"""One chunk, from the message to the books: claim, draw, publish."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import SystemRandom
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from shared.db.budgets import purse_of
from shared.db.fleet import is_draining
from shared.db.leases import Lease, claim_chunk, return_jobs, still_held
from shared.db.ledger import charge_model_load
from shared.db.outcomes import record_failure
from shared.db.settlement import settle_now_and_then
from shared.db.tables import Batch, Worker
from shared.domain.rates import Shape
from shared.messaging.contracts import RenderChunk
from worker.passes import Drawn, draw_pass, pass_size
from worker.patience import patiently
from worker.publish import publish
from worker.rates import ImageTime
from worker.retry import decide
from worker.runtime import Runtime

log = structlog.get_logger()

PUBLISHERS = 2


class DrainedError(Exception):
    """The worker was drained before it claimed anything: the message is for another one."""


def render_chunk(runtime: Runtime, message: RenderChunk) -> None:
    """Draw what is still pending of a chunk. A duplicate message finds nothing to do.

    Raises:
        DrainedError: the worker takes nothing until it is resumed; no job was touched.
        DeviceLostError: the device is lost; what was drawn before is published, and what was
            not stays claimed.
    """
    patience = runtime.settings.outage_patience_seconds
    begin = time.perf_counter_ns()
    leases = patiently(partial(_claim, runtime, message), patience)
    if not leases:
        log.info("chunk_has_nothing_to_claim", chunk_id=str(message.chunk_id))
        return
    runtime.in_hand.chunk_id = message.chunk_id
    try:
        with ThreadPoolExecutor(PUBLISHERS, thread_name_prefix="publish") as publishers:
            published = _draw_all(runtime, leases, publishers)
            wait(published)
    finally:
        runtime.in_hand.chunk_id = None
    times = [image for outcome in published if (image := outcome.result()) is not None]
    runtime.rates.add_chunk(times, len(published), time.perf_counter_ns() - begin)


def _claim(runtime: Runtime, message: RenderChunk) -> list[Lease]:
    with runtime.database.write() as session:
        now = runtime.database.now(session)
        worker = session.get_one(Worker, runtime.worker_id)
        if worker.draining:
            if worker.stopping_at is None:
                raise DrainedError
            return []
        # It has nothing in hand, so whatever is not booked by now is idle time.
        settle_now_and_then(session, worker.id, now)
        # What is booked from here on is not in that balance.
        now = runtime.database.now(session)
        leases = claim_chunk(session, message.chunk_id, runtime.worker_id, now, runtime.lease)
        if leases:
            worker = session.get_one(Worker, runtime.worker_id)
            charge_model_load(session, worker, leases[0].job.batch_id, runtime.load_ns, now)
    return leases


def _draw_all(
    runtime: Runtime, leases: Sequence[Lease], publishers: ThreadPoolExecutor
) -> list[Future[ImageTime | None]]:
    """Draw pass by pass, and publish meanwhile.

    Between two passes the database is asked whether the next jobs are still wanted.
    """
    patience = runtime.settings.outage_patience_seconds
    terms = patiently(partial(_terms, runtime, leases[0].job.batch_id), patience)
    published: list[Future[ImageTime | None]] = []
    done = 0
    while done < len(leases):
        group = leases[done : done + pass_size(runtime, leases[done])]
        wanted = patiently(partial(_still_wanted, runtime, group, terms), patience)
        if wanted is None:
            patiently(partial(_give_back, runtime, leases[done:]), patience)
            break
        done += len(group)
        if wanted:
            published += (
                publishers.submit(_finish, runtime, drawn)
                for drawn in draw_pass(runtime, wanted, check_safety=terms.check_safety)
            )
    return published


@dataclass(frozen=True, slots=True)
class _Terms:
    """On what terms a chunk's batch is drawn."""

    check_safety: bool
    is_limited: bool
    """Whether it may cost only so much."""


def _terms(runtime: Runtime, batch_id: UUID) -> _Terms:
    with runtime.database.read() as session:
        purse = purse_of(session, batch_id, runtime.database.now(session))
        return _Terms(session.get_one(Batch, batch_id).safety_checker, purse is not None)


def _still_wanted(runtime: Runtime, group: Sequence[Lease], terms: _Terms) -> list[Lease] | None:
    """Return those of some jobs that nobody has called off.

    None when none may be begun any more: the worker drains, or the money is spent.
    """
    with runtime.database.read() as session:
        if is_draining(session, runtime.worker_id):
            return None
        if terms.is_limited and _is_spent(runtime, session, group[0].job.batch_id):
            return None
        held = still_held(session, group)
    return [lease for lease in group if lease.job.id in held]


def _is_spent(runtime: Runtime, session: Session, batch_id: UUID) -> bool:
    """Tell whether images cost more than was expected when they were claimed."""
    purse = purse_of(session, batch_id, runtime.database.now(session))
    return purse is not None and purse.left_nanodollars <= 0


def _give_back(runtime: Runtime, leases: Sequence[Lease]) -> None:
    with runtime.database.write() as session:
        return_jobs(session, leases, runtime.database.now(session))


def _finish(runtime: Runtime, drawn: Drawn) -> ImageTime | None:
    """Publish an image, or write down why there is none; runs in a publisher's thread."""
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
