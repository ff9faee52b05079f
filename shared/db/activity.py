"""What was done when, by batch and by worker: folded from tallies, as the counts are.

A tally's key is a UUIDv7, so it tells when its transaction was about to commit, by the clock of
the process that made it. What a host with a wrong clock did is seen at another place of the
line, and none of it is lost.

Only what was booked for work on a device has a time of its own. Idle time is what is left
between two settlements, storage and requests are booked by day, and corrections stand for work
of long ago: no line over time shows these, and its sum is that much less than the bill.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

from sqlalchemy import CursorResult, Row, delete, select, tuple_
from sqlalchemy.orm import Session

from shared.db.activity_tables import BatchActivity, WorkerActivity
from shared.db.adding import add_to_rows
from shared.domain.identifiers import NOBODY, milliseconds_of
from shared.domain.jobs import ON_DEVICE, LedgerKind

BATCH_SECONDS = 10
"""Of a row of a batch."""
MINUTE = 60
"""Seconds of a row of a worker."""
LONGEST_WORK = 60
"""Minutes before its end, over which one tally's device time is spread at most."""
PRUNED_AT_ONCE = 5_000


class BatchSums(NamedTuple):
    """What came of a batch in some time."""

    done: int
    failed: int
    nanodollars: int

    def plus(self, more: BatchSums) -> BatchSums:
        """Put some more to it."""
        return BatchSums(*map(sum, zip(self, more, strict=True)))


class WorkerSums(NamedTuple):
    """What a worker did in some time."""

    images: int
    busy_ns: int
    nanodollars: int

    def plus(self, more: WorkerSums) -> WorkerSums:
        """Put some more to it."""
        return WorkerSums(*map(sum, zip(self, more, strict=True)))


NOTHING_DONE = WorkerSums(0, 0, 0)


def fold_activity(session: Session, tallies: Sequence[Row[Any]]) -> None:
    """Add what tallies tell to the sums of their time.

    Args:
        session: writes, and takes the tallies away.
        tallies: whole rows.
    """
    batches: dict[tuple[UUID, int], BatchSums] = {}
    workers: dict[tuple[UUID, int], WorkerSums] = {}
    for row in tallies:
        if row.kind is None and not row.done and row.failed <= 0:
            continue  # every other one: a claim
        milliseconds = milliseconds_of(row.id)
        is_work = row.kind in ON_DEVICE
        came = BatchSums(row.done, max(row.failed, 0), row.nanodollars if is_work else 0)
        if row.batch_id != NOBODY and any(came):
            second = milliseconds // (BATCH_SECONDS * 1000) * BATCH_SECONDS
            place = (row.batch_id, second)
            known = batches.get(place)
            batches[place] = came if known is None else came.plus(known)
        if is_work and row.worker_id is not None:
            images = row.entries if row.kind == LedgerKind.RENDER else 0
            work = WorkerSums(images, row.device_ns, row.nanodollars)
            for second, part in spread(milliseconds, work):
                place = (row.worker_id, second)
                workers[place] = part.plus(workers.get(place, NOTHING_DONE))
    add_to_rows(
        session,
        BatchActivity,
        [{"batch_id": key[0], "second": key[1], **came._asdict()} for key, came in batches.items()],
    )
    add_to_rows(
        session,
        WorkerActivity,
        [{"worker_id": key[0], "second": key[1], **did._asdict()} for key, did in workers.items()],
    )


def spread(ended: int, work: WorkerSums) -> Iterator[tuple[int, WorkerSums]]:
    """Tell which minutes some work fell into, latest first: the device was at it up to its end.

    Images and money count where it ended. Of more than an hour, the last hour is told.

    Args:
        ended: in milliseconds since 1970.
        work: all of it.

    Yields:
        When the minute began, in seconds since 1970, and its part.
    """
    minute = ended // (MINUTE * 1000)
    left = work.busy_ns
    part = min(left, (ended - minute * MINUTE * 1000) * 1_000_000)
    yield minute * MINUTE, work._replace(busy_ns=part)
    for earlier in range(1, LONGEST_WORK):
        left -= part
        if left <= 0:
            return
        part = min(left, MINUTE * 1_000_000_000)
        yield (minute - earlier) * MINUTE, WorkerSums(0, part, 0)


def prune_activity(session: Session, before: datetime) -> bool:
    """Forget up to 5,000 minutes of workers that began before a moment.

    Those that are being added to stay, for whoever prunes next.

    Returns:
        Whether there may be more.
    """
    row = (WorkerActivity.worker_id, WorkerActivity.second)
    old = (
        select(*row)
        .where(WorkerActivity.second < int(before.timestamp()))
        .limit(PRUNED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    pruned = session.execute(
        delete(WorkerActivity).where(tuple_(*row).in_(old)),
        execution_options={"synchronize_session": False},
    )
    return cast("CursorResult[Any]", pruned).rowcount == PRUNED_AT_ONCE
