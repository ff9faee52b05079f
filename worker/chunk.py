"""One chunk, from the message until it has left the device: claim, prepare, draw, hand on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from shared.db.budgets import purse_of
from shared.db.fits import fits_for
from shared.db.fleet import begin_chunk, is_draining
from shared.db.leases import Lease, claim_chunk, return_jobs, still_held
from shared.db.ledger import charge_model_load
from shared.db.settlement import SETTLED_EVERY, settle_now_and_then, settle_worker
from shared.db.tables import Batch, Job, Worker
from shared.domain.pass_rates import default_pass
from shared.domain.rates import Shape
from shared.messaging.contracts import RenderChunk
from worker.finish import ChunkTimes, finish
from worker.passes import Pass, draw_pass, prepare_pass
from worker.patience import patiently
from worker.runtime import Runtime
from worker.turns import WaitForTurn

log = structlog.get_logger()

FRESH_SECONDS = 1.0
"""How old the word may be that jobs are still wanted, when their pass begins."""
SHUT_SECONDS = 2.0
"""How long other devices of the process get the chunks of one that is drained."""


class DrainedError(Exception):
    """The worker was drained before it claimed anything: the message is for another one."""


@dataclass(frozen=True, slots=True)
class _Terms:
    """On what terms a chunk is drawn."""

    check_safety: bool
    is_limited: bool
    """Whether its batch may cost only so much."""
    images_per_pass: int
    """How many go through the device at once, as far as they fit."""


@dataclass(frozen=True, slots=True)
class _Next:
    """The pass that comes next."""

    group: Sequence[Lease]
    ready: Pass | None
    """None when none of the group is wanted any more."""
    asked_at: float
    """When that was looked up, of `time.monotonic`."""


def render_chunk(runtime: Runtime, message: RenderChunk, wait_for_turn: WaitForTurn) -> None:
    """Draw what is still pending of a chunk. A duplicate message finds nothing to do.

    While the device is at the chunk before, this one is claimed and made ready. It returns when
    the last pass has left the device: images are still on their way to the store then, and their
    leases are renewed until they are in the books.

    Raises:
        DrainedError: the worker takes nothing until it is resumed; no job was touched.
        DeviceLostError: the device is lost; what was drawn before is on its way to the store,
            and what was not stays claimed.
    """
    patience = runtime.settings.outage_patience_seconds
    claimed_at = time.perf_counter_ns()
    leases = patiently(partial(_claim, runtime, message), patience)
    if not leases:
        log.info("chunk_has_nothing_to_claim", chunk_id=str(message.chunk_id))
        return
    runtime.in_hand.take(message.chunk_id)
    try:
        terms = patiently(partial(_terms, runtime, leases[0].job), patience)
        first = _look_ahead(runtime, leases, terms)
        wait_for_turn()
        times = ChunkTimes(
            runtime, message.chunk_id, max(claimed_at, runtime.in_hand.free_since_ns)
        )
        _draw_all(runtime, leases, first, terms, times)
        times.leave_device()
    finally:
        runtime.in_hand.let_go(message.chunk_id)


def _claim(runtime: Runtime, message: RenderChunk) -> list[Lease]:
    with runtime.database.write() as session:
        now = runtime.database.now(session)
        worker = session.get_one(Worker, runtime.worker_id)
        if worker.draining:
            if worker.stopping_at is None:
                runtime.turns.shut(SHUT_SECONDS)
                raise DrainedError
            return []
        if runtime.in_hand.is_empty:
            # Whatever is not booked by now is idle time.
            settle_now_and_then(session, worker.id, now)
            # What is booked from here on is not in that balance.
            now = runtime.database.now(session)
        leases = claim_chunk(session, message.chunk_id, runtime.worker_id, now, runtime.lease)
        if leases:
            worker = session.get_one(Worker, runtime.worker_id)
            charge_model_load(session, worker, leases[0].job.batch_id, runtime.load_ns, now)
    return leases


def _terms(runtime: Runtime, job: Job) -> _Terms:
    record = runtime.drawn_by
    with runtime.database.read() as session:
        now = runtime.database.now(session)
        batch = session.get_one(Batch, job.batch_id)
        # Other workers of the kind may have learned something.
        runtime.fits.clear()
        runtime.fits.update(fits_for(session, record.model, record.device_name, now))
        return _Terms(
            batch.safety_checker,
            purse_of(session, batch.id, now) is not None,
            batch.images_per_pass or _images_per_pass(runtime, session, job, now),
        )


def _images_per_pass(runtime: Runtime, session: Session, job: Job, now: datetime) -> int:
    settings, record = runtime.settings, runtime.drawn_by
    if settings.images_per_pass:
        return settings.images_per_pass
    shape = Shape.of(job.width, job.height, job.steps, job.squeeze, job.guidance_scale)
    return runtime.passes.best(
        session,
        record.model,
        runtime.device_kind,
        frozenset({record.device_name}),
        shape,
        default=default_pass(runtime.device_kind, settings.chunk_size),
        now=now,
    )


def _draw_all(
    runtime: Runtime, leases: Sequence[Lease], first: _Next | None, terms: _Terms, times: ChunkTimes
) -> None:
    """Draw pass by pass; each is looked up and made ready while the one before is drawn."""
    patience = runtime.settings.outage_patience_seconds
    chunk_id = leases[0].job.chunk_id
    if first is not None:
        patiently(partial(_begin, runtime, chunk_id), patience)
    upcoming = first
    done = 0
    runtime.in_hand.begin()
    try:
        while upcoming is not None and (upcoming := _fresh(runtime, upcoming, terms)) is not None:
            done += len(upcoming.group)
            soon = runtime.preparer.submit(_look_ahead, runtime, leases[done:], terms)
            if upcoming.ready is not None:
                for drawn in draw_pass(runtime, upcoming.ready, check_safety=terms.check_safety):
                    times.take(drawn)
                    runtime.outbox.put(partial(finish, runtime, drawn, times))
            upcoming = soon.result()
    finally:
        runtime.in_hand.end()
    if done < len(leases):
        patiently(partial(_give_back, runtime, leases[done:]), patience)


def _look_ahead(runtime: Runtime, leases: Sequence[Lease], terms: _Terms) -> _Next | None:
    """Make ready the first pass of some jobs, as far as they are wanted.

    Returns:
        None when there are none, or none may be begun any more: the worker drains, the
        money is spent, or they were sent before it was known which sizes this worker draws.
    """
    if not leases:
        return None
    job, sizes = leases[0].job, runtime.pipeline.compiled_sizes
    if sizes is not None and (job.width, job.height) not in sizes:
        return None
    most = min(terms.images_per_pass, runtime.fits.get((job.width, job.height), len(leases)))
    group = leases[:most]
    asked_at = time.monotonic()
    wanted = _look_up(runtime, group, terms)
    if wanted is None:
        return None
    return _Next(group, prepare_pass(runtime, wanted) if wanted else None, asked_at)


def _fresh(runtime: Runtime, upcoming: _Next, terms: _Terms) -> _Next | None:
    """Ask again for a pass that had to wait for its turn."""
    if upcoming.ready is None or time.monotonic() - upcoming.asked_at < FRESH_SECONDS:
        return upcoming
    wanted = _look_up(runtime, upcoming.group, terms)
    if wanted is None:
        return None
    if len(wanted) < len(upcoming.ready.group):
        return replace(upcoming, ready=prepare_pass(runtime, wanted) if wanted else None)
    return upcoming


def _look_up(runtime: Runtime, group: Sequence[Lease], terms: _Terms) -> list[Lease] | None:
    look = partial(_still_wanted, runtime, group, terms)
    return patiently(look, runtime.settings.outage_patience_seconds)


def _still_wanted(runtime: Runtime, group: Sequence[Lease], terms: _Terms) -> list[Lease] | None:
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


def _begin(runtime: Runtime, chunk_id: UUID | None) -> None:
    """Write down that a chunk goes into the device: were the worker lost, it is to blame.

    A device that is never idle is settled here, where nothing is in it: what was drawn before is
    waited for, every ten minutes.
    """
    is_due = runtime.in_hand.seconds_since_settled > SETTLED_EVERY.total_seconds()
    if is_due:
        runtime.in_hand.wait_for_images()
    with runtime.database.write() as session:
        now = runtime.database.now(session)
        if is_due:
            settle_worker(session, runtime.worker_id, now, nothing_is_begun=True)
        begin_chunk(session, runtime.worker_id, chunk_id, now)
    if is_due:
        runtime.in_hand.note_settled()


def _give_back(runtime: Runtime, leases: Sequence[Lease]) -> None:
    with runtime.database.write() as session:
        return_jobs(session, leases, runtime.database.now(session))
