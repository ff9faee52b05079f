"""What it would cost to delete a worker's pod: by the jobs that it has in hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db.conditions import IS_LEASED
from shared.db.fleet import live_workers
from shared.db.tables import Job, Worker

IDLE = 0
"""What a pod costs of which nobody has said anything."""
DRAINING = -1
KNOWN_FOR = timedelta(hours=1)
"""So long after a worker's last sign of life its host is known for one that has had workers."""


def deletion_costs(session: Session, now: datetime, silence: timedelta) -> Mapping[str, int]:
    """Return what each host costs: more the more its workers have in hand.

    A host whose workers take nothing more costs least. One without a live worker is idle.

    Args:
        session: reads.
        now: as the database tells it.
        silence: after which a worker does not count as alive.
    """
    known = select(Worker.host).where(Worker.heartbeat_at >= now - KNOWN_FOR).distinct()
    of_host: dict[str, list[Worker]] = {host: [] for host in session.scalars(known)}
    for worker in live_workers(session, now, silence):
        of_host.setdefault(worker.host, []).append(worker)
    in_hand = _in_hand(session)
    return {host: _cost(workers, in_hand) for host, workers in of_host.items()}


def _in_hand(session: Session) -> Mapping[UUID | None, int]:
    counts = select(Job.worker_id, func.count()).where(IS_LEASED).group_by(Job.worker_id)
    return {worker_id: int(jobs) for worker_id, jobs in session.execute(counts)}


def _cost(workers: list[Worker], in_hand: Mapping[UUID | None, int]) -> int:
    if workers and all(worker.draining for worker in workers):
        return DRAINING
    return _rounded(sum(in_hand.get(worker.id, 0) for worker in workers))


def _rounded(jobs: int) -> int:
    """Round up to a power of two: each change is a write that all who watch pods are told of."""
    return 1 << (jobs - 1).bit_length() if jobs else IDLE
