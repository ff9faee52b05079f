"""One chunk, from the message until it has left the device: claim, prepare, draw, hand on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from shared.db.budgets import purse_of
from shared.db.claims import claim_chunk
from shared.db.fleet import begin_chunk, is_draining, is_stopping
from shared.db.leases import Lease, return_jobs, still_held
from shared.db.ledger import charge_model_load
from shared.db.settlement import SETTLED_EVERY, settle_now_and_then, settle_worker
from shared.db.tables import Worker
from shared.messaging.contracts import RenderChunk
from worker.batch_terms import terms_of
from worker.finish import ChunkTimes, fail_all, finish
from worker.model_cache import LoadedModel
from worker.passes import Pass, draw_pass, prepare_pass
from worker.patience import patiently
from worker.runtime import Runtime
from worker.serving import load_model
from worker.terms import Terms
from worker.turns import WaitForTurn

log = structlog.get_logger()

FRESH_SECONDS = 1.0
"""How old the word may be that jobs are still wanted, when their pass begins."""
SHUT_SECONDS = 2.0
"""How long other devices of the process get the chunks of one that is drained."""


class DrainedError(Exception):
    """The worker was drained before it claimed anything: the message is for another one."""


@dataclass(frozen=True, slots=True)
class _Next:
    """The pass that comes next."""

    group: Sequence[Lease]
    ready: Pass | None
    """Those that are wanted; None when none of the group is any more."""
    asked_at: float
    """When that was looked up, of `time.monotonic`."""


@dataclass(frozen=True, slots=True)
class _Start:
    """What a chunk begins with."""

    runtime: Runtime
    """With the chunk's model."""
    first: _Next | None


def render_chunk(runtime: Runtime, message: RenderChunk, wait_for_turn: WaitForTurn) -> None:
    """Draw what is still pending of a chunk. A duplicate message finds nothing to do.

    While the device is at the chunk before, this one is claimed and made ready; if its model is
    not in memory, that is loaded first, when it is the chunk's turn. It returns when the last pass
    has left the device: images are still on their way to the store then, and their leases are
    renewed until they are in the books.

    Raises:
        DrainedError: the worker takes nothing until it is resumed; no job was touched.
        DeviceLostError: the device is lost; what was drawn before is on its way to the store,
            and what was not stays claimed.
    """
    patience = runtime.settings.outage_patience_seconds
    claimed_at = time.perf_counter_ns()
    leases, terms = patiently(partial(_claim, runtime, message), patience)
    if runtime.trace is not None:
        runtime.trace.note_claim(claimed_at, len(leases))
    if not leases:
        log.info("chunk_has_nothing_to_claim")
        return
    if terms is None:
        log.error("chunk_of_another_model")
        patiently(partial(_give_back, runtime, leases), patience)
        return
    runtime.in_hand.take(message.chunk_id)
    try:
        with runtime.models.hold(terms.model) as model:
            start = None if model is None else _start(runtime, model, leases, terms)
        wait_for_turn()
        if not _is_worth_loading(runtime, leases, terms):
            patiently(partial(_give_back, runtime, leases), patience)
            return
        failure = load_model(runtime, terms.model, leases[0].job.batch_id)
        begun_ns = max(claimed_at, runtime.in_hand.free_since_ns)
        if failure is not None:
            fail_all(runtime, leases, failure, ChunkTimes(runtime, message.chunk_id, begun_ns))
            return
        with runtime.models.hold(terms.model) as model:
            if model is None:
                raise RuntimeError(f"the model {terms.model} made way out of turn")
            if start is None or start.runtime.model is not model:
                start = _start(runtime, model, leases, terms)
            times = ChunkTimes(start.runtime, message.chunk_id, begun_ns)
            _draw_all(start.runtime, leases, start.first, terms, times)
            times.leave_device()
    finally:
        runtime.in_hand.let_go(message.chunk_id)


def _start(runtime: Runtime, model: LoadedModel, leases: Sequence[Lease], terms: Terms) -> _Start:
    """Make ready the first pass of what was just claimed, all of which is wanted."""
    runtime = replace(runtime, model=model)
    group = _first_of(runtime, leases, terms)
    return _Start(runtime, _make_ready(runtime, group) if group else None)


def _is_worth_loading(runtime: Runtime, leases: Sequence[Lease], terms: Terms) -> bool:
    """Tell whether a model is in memory, or somebody still wants jobs that need it."""
    if terms.model in runtime.models.in_memory:
        return True
    look = partial(_still_wanted_now, runtime, leases, terms)
    return bool(patiently(look, runtime.settings.outage_patience_seconds))


def _claim(runtime: Runtime, message: RenderChunk) -> tuple[Sequence[Lease], Terms | None]:
    """Claim what is still pending of a chunk; without terms if its model is none of ours."""
    in_hand = runtime.in_hand
    with runtime.database.write() as session:
        now = runtime.database.now(session)
        if in_hand.is_empty:
            # Whatever is not booked by now is idle time.
            settle_now_and_then(session, runtime.worker_id, now)
            # What is booked from here on is not in that balance.
            now = runtime.database.now(session)
        leases = claim_chunk(
            session,
            message.chunk_id,
            runtime.worker_id,
            now,
            runtime.lease,
            batch_id=message.batch_id,
        )
        if not leases:
            if is_draining(session, runtime.worker_id) and not is_stopping(
                session, runtime.worker_id
            ):
                runtime.turns.shut(SHUT_SECONDS)
                raise DrainedError
            return [], None
        terms = terms_of(runtime, session, leases[0].job, now)
        if not in_hand.load_is_booked:
            worker = session.get_one(Worker, runtime.worker_id)
            charge_model_load(session, worker, leases[0].job.batch_id, runtime.load_ns, now)
    in_hand.load_is_booked = True
    return leases, terms


def _draw_all(
    runtime: Runtime, leases: Sequence[Lease], first: _Next | None, terms: Terms, times: ChunkTimes
) -> None:
    """Draw pass by pass; each is looked up and made ready while the one before is drawn."""
    patience = runtime.settings.outage_patience_seconds
    upcoming = None
    if first is not None:
        begin = partial(_begin, runtime, leases[0].job.chunk_id, first, terms)
        upcoming = patiently(begin, patience)
    done = 0
    runtime.in_hand.begin()
    try:
        while upcoming is not None:
            done += len(upcoming.group)
            soon = runtime.preparer.submit(_look_ahead, runtime, leases[done:], terms)
            if upcoming.ready is not None:
                for drawn in draw_pass(runtime, upcoming.ready, check_safety=terms.check_safety):
                    times.take(drawn)
                    runtime.outbox.put(partial(finish, runtime, drawn, times))
            upcoming = soon.result()
            if upcoming is not None and time.monotonic() - upcoming.asked_at > FRESH_SECONDS:
                upcoming = _look_up(runtime, upcoming, terms)
    finally:
        runtime.in_hand.end()
    if done < len(leases):
        patiently(partial(_give_back, runtime, leases[done:]), patience)


def _first_of(runtime: Runtime, leases: Sequence[Lease], terms: Terms) -> Sequence[Lease]:
    """Return the jobs of the next pass.

    None of a size that this worker does not draw: they were sent before that was known.
    """
    job, sizes = leases[0].job, runtime.pipeline.compiled_sizes
    if sizes is not None and (job.width, job.height) not in sizes:
        return []
    return leases[
        : min(terms.images_per_pass, runtime.fits.get((job.width, job.height), len(leases)))
    ]


def _look_ahead(runtime: Runtime, leases: Sequence[Lease], terms: Terms) -> _Next | None:
    """Make ready the next pass of some jobs, as far as they are wanted.

    Returns:
        None when there are none, or none may be begun any more.
    """
    if not leases:
        return None
    group = _first_of(runtime, leases, terms)
    look = partial(_still_wanted_now, runtime, group, terms)
    wanted = patiently(look, runtime.settings.outage_patience_seconds)
    return None if wanted is None else replace(_make_ready(runtime, wanted), group=group)


def _make_ready(runtime: Runtime, wanted: Sequence[Lease]) -> _Next:
    asked_at = time.monotonic()
    return _Next(wanted, prepare_pass(runtime, wanted) if wanted else None, asked_at)


def _look_up(runtime: Runtime, upcoming: _Next, terms: Terms) -> _Next | None:
    """Ask again for a pass that was ready long before its turn came."""
    look = partial(_still_wanted_now, runtime, upcoming.group, terms)
    wanted = patiently(look, runtime.settings.outage_patience_seconds)
    return _as_wanted(runtime, upcoming, wanted)


def _as_wanted(runtime: Runtime, upcoming: _Next, wanted: Sequence[Lease] | None) -> _Next | None:
    if wanted is None:
        return None
    if upcoming.ready is None or len(wanted) == len(upcoming.ready.group):
        return upcoming
    return replace(upcoming, ready=prepare_pass(runtime, wanted) if wanted else None)


def _still_wanted_now(
    runtime: Runtime, group: Sequence[Lease], terms: Terms
) -> Sequence[Lease] | None:
    with runtime.database.read() as session:
        return _still_wanted(runtime, session, group, terms)


def _still_wanted(
    runtime: Runtime, session: Session, group: Sequence[Lease], terms: Terms
) -> Sequence[Lease] | None:
    """Return those of some jobs that nobody has called off.

    None when none may be begun any more: the worker drains, or the money is spent.
    """
    if is_draining(session, runtime.worker_id):
        return None
    return _still_held(runtime, session, group, terms)


def _still_held(
    runtime: Runtime, session: Session, group: Sequence[Lease], terms: Terms
) -> Sequence[Lease] | None:
    """Do the same for a worker that does not drain."""
    if terms.is_limited and _is_spent(runtime, session, group[0].job.batch_id):
        return None
    held = still_held(session, group)
    return [lease for lease in group if lease.job.id in held]


def _is_spent(runtime: Runtime, session: Session, batch_id: UUID) -> bool:
    """Tell whether images cost more than was expected when they were claimed."""
    purse = purse_of(session, batch_id, runtime.database.now(session))
    return purse is not None and purse.left_nanodollars <= 0


def _begin(runtime: Runtime, chunk_id: UUID | None, first: _Next, terms: Terms) -> _Next | None:
    """Write down that a chunk goes into the device: were the worker lost, it is to blame.

    A device that is never idle is settled here, where nothing is in it: what was drawn before is
    waited for, every ten minutes.

    Returns:
        Its first pass, as far as that is wanted now.
    """
    in_hand = runtime.in_hand
    is_due = in_hand.seconds_since_settled > SETTLED_EVERY.total_seconds()
    if is_due:
        in_hand.wait_for_images()
    with runtime.database.write() as session:
        now = runtime.database.now(session)
        if is_due:
            settle_worker(session, runtime.worker_id, now, nothing_is_begun=True)
        wanted = _still_held(runtime, session, first.group, terms)
        if wanted is not None and not begin_chunk(session, runtime.worker_id, chunk_id, now):
            wanted = None
    if is_due:
        in_hand.note_settled()
    return _as_wanted(runtime, first, wanted)


def _give_back(runtime: Runtime, leases: Sequence[Lease]) -> None:
    with runtime.database.write() as session:
        return_jobs(session, leases, runtime.database.now(session))
