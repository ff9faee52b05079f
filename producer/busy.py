"""Which part of the time the devices of each kind were at work in the last minutes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db.activity import MINUTE, WorkerSums, spread
from shared.db.activity_tables import WorkerActivity
from shared.db.id_times import MillisecondsOf
from shared.db.tables import Tally, Worker
from shared.domain.identifiers import first_id_of
from shared.domain.jobs import ON_DEVICE
from shared.domain.money import NANOSECONDS

MINUTES = 5
"""The last of them is under way."""
MOST_UNFOLDED = 5_000
"""Tallies that are read, the latest: the dispatcher leaves no more than some hundred."""


def busy_ratios(session: Session, workers: Sequence[Worker], now: datetime) -> Mapping[str, float]:
    """Return from 0 to 1 how busy some workers were, by device kind.

    Work counts when it has ended, up to the minutes that it fell into. A worker counts from when
    it was ready.

    Args:
        session: reads.
        workers: those that live.
        now: as the database tells it.
    """
    begin = int(now.timestamp()) // MINUTE * MINUTE - (MINUTES - 1) * MINUTE
    busy_ns = _busy(session, begin)
    at_work: defaultdict[str, float] = defaultdict(float)
    there: defaultdict[str, float] = defaultdict(float)
    for worker in workers:
        since = max(float(begin), worker.started_at.timestamp())
        seconds = max(1.0, now.timestamp() - since)
        there[worker.device_kind] += seconds
        at_work[worker.device_kind] += min(seconds, busy_ns.get(worker.id, 0) / NANOSECONDS)
    return {kind: at_work[kind] / seconds for kind, seconds in sorted(there.items())}


def _busy(session: Session, begin: int) -> Mapping[UUID, int]:
    """Return nanoseconds of work since a second, by worker."""
    folded = (
        select(WorkerActivity.worker_id, func.sum(WorkerActivity.busy_ns))
        .where(WorkerActivity.second >= begin)
        .group_by(WorkerActivity.worker_id)
    )
    busy: defaultdict[UUID, int] = defaultdict(int)
    for worker_id, nanoseconds in session.execute(folded):
        busy[worker_id] = int(nanoseconds)
    since = first_id_of(datetime.fromtimestamp(begin, UTC))
    unfolded = (
        select(Tally.worker_id, MillisecondsOf(Tally.id), Tally.device_ns)
        .where(Tally.kind.in_([kind.value for kind in ON_DEVICE]), Tally.id >= since)
        .order_by(Tally.id.desc())
        .limit(MOST_UNFOLDED)
    )
    for of_worker, ended, nanoseconds in session.execute(unfolded):
        for second, part in spread(ended, WorkerSums(0, nanoseconds, 0)):
            if of_worker is not None and second >= begin:
                busy[of_worker] += part.busy_ns
    return busy
