"""Idle time, shared out to those whom the device waited for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from uuid import UUID

from shared.db.cost_sums import Booked, CostRow
from shared.db.tallies import NOT_BOOKED
from shared.domain.jobs import ON_DEVICE, LedgerKind
from shared.domain.money import share_by_weight

WorkerDay = tuple[UUID, date]


def share_out_idle(rows: Iterable[CostRow]) -> list[CostRow]:
    """Give the idle time of a worker's day to the batches that it served on that day.

    Each gets as much of it as it has of the time that the device was busy. Corrections of
    what idle time cost are idle time, too.

    Args:
        rows: all rows of every worker in them, of whole days.

    Returns:
        Rows that add up to the same, to the nano-dollar and the nanosecond. Idle time that is
        still no batch's is of days on which its worker served nobody.
    """
    shared: list[CostRow] = []
    idle: dict[WorkerDay, Booked] = {}
    served: dict[WorkerDay, Counter[UUID]] = defaultdict(Counter)
    for row in rows:
        if row.worker_id is not None and row.batch_id is None:
            worker_day = (row.worker_id, row.day)
            idle[worker_day] = idle.get(worker_day, NOT_BOOKED) + row.booked
            continue
        shared.append(row)
        if row.worker_id is not None and row.batch_id is not None and row.kind in ON_DEVICE:
            served[row.worker_id, row.day][row.batch_id] += row.booked.device_ns
    for worker_day, booked in idle.items():
        shared += _shares(worker_day, booked, served[worker_day])
    return shared


def _shares(worker_day: WorkerDay, idle: Booked, served: Counter[UUID]) -> Iterator[CostRow]:
    worker_id, day = worker_day
    batch_ids = sorted(batch_id for batch_id, device_ns in served.items() if device_ns)
    if not batch_ids:
        yield CostRow(None, worker_id, LedgerKind.IDLE, day, idle)
        return
    weights = [served[batch_id] for batch_id in batch_ids]
    times = share_by_weight(idle.device_ns, weights)
    amounts = share_by_weight(idle.nanodollars, weights)
    for batch_id, device_ns, nanodollars in zip(batch_ids, times, amounts, strict=True):
        share = Booked(0, device_ns, nanodollars, None, None)
        yield CostRow(batch_id, worker_id, LedgerKind.IDLE, day, share)
