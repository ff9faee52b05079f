"""A process's sign of life: its leases are renewed, and what it measured is written down."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack

import structlog
from sqlalchemy.exc import SQLAlchemyError

from shared.db.fleet import mark_stopped
from shared.db.leases import renew_leases
from shared.db.pass_rates import record_passes
from shared.db.phases import Drawing, record_phases
from shared.db.rates import record_rates
from shared.domain.phases import PhaseSums
from worker.runtime import Runtime, Shared

log = structlog.get_logger()


def start_heartbeat(shared: Shared, runtimes: Sequence[Runtime]) -> None:
    """Beat in a thread for as long as the process lives."""

    def beat() -> None:
        while True:
            shared.news.wait(shared.settings.heartbeat_seconds)
            for runtime in runtimes:
                _end_if_hung(runtime)
            try:
                write_down(shared, runtimes)
            except SQLAlchemyError as error:
                log.warning("heartbeat_failed", error=str(error))

    threading.Thread(target=beat, name="heartbeat", daemon=True).start()


def write_down(shared: Shared, runtimes: Sequence[Runtime], *, stops: bool = False) -> None:
    """Renew leases, book what idle workers did not do, and write down what images took.

    The latter of workers that are idle, and of others now and then: it takes some statements.

    Args:
        shared: the process's.
        runtimes: its workers.
        stops: whether this is their orderly end.
    """
    # What a heartbeat has taken is in the books before the last one asks for the rest.
    with shared.writes_down, ExitStack() as taken, shared.database.write() as session:
        now = shared.database.now(session)
        phases: list[tuple[Drawing, PhaseSums]] = []
        in_hand = {runtime.worker_id: runtime.in_hand.chunk_ids for runtime in runtimes}
        for runtime in runtimes:
            for model, rates in runtime.models.rates.items():
                if not (stops or runtime.in_hand.is_empty or rates.is_old):
                    continue
                measured = taken.enter_context(rates.taken())
                record_rates(session, runtime.worker_id, model, measured.images, now)
                record_passes(session, runtime.worker_id, model, measured.passes, now)
                phases.append((Drawing(runtime.device_kind, model), measured.phases))
        renew_leases(session, in_hand, now, runtimes[0].lease)
        if stops:
            for runtime in runtimes:
                mark_stopped(session, runtime.worker_id, now)
        record_phases(session, runtimes[0].worker_id, phases)


def _end_if_hung(runtime: Runtime) -> None:
    seconds = runtime.in_hand.seconds_in_device
    if seconds > runtime.settings.chunk_time_limit_seconds:
        log.error("device_hangs", worker_id=str(runtime.worker_id), seconds=round(seconds))
        # A driver that hangs holds its device until its process is gone.
        os.kill(os.getpid(), signal.SIGKILL)
