"""What was done when, for lines over time: of batches, and of workers.

Read from sums of ten seconds and of a minute (`shared.db.activity`), and from the tallies that
were not folded yet: nothing is missing while the dispatcher is behind, or away.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CompoundSelect,
    Select,
    Subquery,
    case,
    false,
    func,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import Session

from producer.costs.amounts import Amounts
from shared.db.activity import BATCH_SECONDS, MINUTE, NOTHING_DONE, BatchSums, WorkerSums, spread
from shared.db.activity_tables import BatchActivity, WorkerActivity
from shared.db.cost_sums import read_worker_costs
from shared.db.id_times import MillisecondsOf
from shared.db.tables import Tally
from shared.domain.identifiers import first_id_of
from shared.domain.jobs import ON_DEVICE, LedgerKind

POINTS = 120
RATE_SECONDS = 60
HOUR = 60
"""Minutes."""
NANOSECONDS = 1_000_000_000
WORK = [kind.value for kind in ON_DEVICE]
NOTHING_CAME = BatchSums(0, 0, 0)


@dataclass(frozen=True, slots=True)
class BatchSeries:
    """What came of a batch over time."""

    begin: datetime | None
    """Of the first point; None where nothing was done yet."""
    bucket_seconds: int
    """From one point to the next; the last point's time need not be over."""
    points: Sequence[BatchSums]
    """Oldest first, without gaps: nothing in a pause.

    Done are images drawn, and those that were drawn before, when they were submitted. Failed
    are jobs that failed for good, each time: what is retried is not taken back. The money is
    what was booked for work on devices; see `shared.db.activity`.
    """

    @property
    def timed(self) -> Sequence[tuple[datetime, BatchSums]]:
        """Each point with when it begins."""
        if self.begin is None:
            return ()
        width = timedelta(seconds=self.bucket_seconds)
        return [(self.begin + number * width, point) for number, point in enumerate(self.points)]


@dataclass(frozen=True, slots=True)
class WorkerSeries:
    """How busy a worker was, and what it has cost."""

    begin: datetime
    """Of the first minute."""
    utilisation: Sequence[float]
    """Of each minute, oldest first, from 0 to 1. The last is under way: what it has of it."""
    images: Sequence[int]
    """Finished in each of these minutes."""
    last_hour: WorkerSums
    """Images, and time and money of its work; of the minute under way and the 59 before."""
    booked: Amounts
    """All that was ever booked of it. Its idle time may be ten minutes behind."""


def batch_series(
    session: Session, batch_id: UUID, points: int = POINTS, *, until: datetime | None = None
) -> BatchSeries:
    """Return what came of a batch over time; in one statement, so that it is of one moment.

    Args:
        session: reads.
        batch_id: of which batch.
        points: how many at most, at least 1; the time of one is a multiple of ten seconds.
        until: the line goes on to here, if nothing was done in the end: now, while it is open.
    """
    rows = session.execute(_numbered_sums(batch_id, points, until)).all()
    if not rows:
        return BatchSeries(None, BATCH_SECONDS, ())
    first, last, seconds = rows[0][:3]
    came = [NOTHING_CAME] * ((last - first) // seconds + 1)
    for row in rows:
        came[row.number] = BatchSums(*(int(figure) for figure in row[4:]))
    return BatchSeries(datetime.fromtimestamp(first, UTC), seconds, tuple(came))


def _numbered_sums(batch_id: UUID, points: int, until: datetime | None) -> Select[Any]:
    """Choose the time of a point, and sum up what is of the same one."""
    scale = _scale(batch_id, points, until)
    parts = union_all(*_parts_of(batch_id)).subquery("parts")
    number = ((parts.c.second - scale.c.first) // scale.c.seconds).label("number")
    numbered = (
        select(*scale.c, number, *(parts.c[name] for name in BatchSums._fields))
        .select_from(parts)
        .join(scale, true())
        .subquery("numbered")
    )
    # The same in each row: to group by one column is faster than by four.
    same = [func.min(numbered.c[name]) for name in ("first", "last", "seconds")]
    sums = [func.sum(numbered.c[name]) for name in BatchSums._fields]
    return select(*same, numbered.c.number, *sums).group_by(numbered.c.number)


def _scale(batch_id: UUID, points: int, until: datetime | None) -> Subquery:
    """Find where the line begins and ends, and how long a point lasts."""
    _, unfolded = _parts_of(batch_id)
    # Of what was folded, an index has both ends.
    of_batch = select(BatchActivity.second).where(BatchActivity.batch_id == batch_id)
    ends = union_all(
        of_batch.with_only_columns(func.min(BatchActivity.second).label("second")),
        of_batch.with_only_columns(func.max(BatchActivity.second)),
        unfolded.with_only_columns(unfolded.selected_columns.second),
    ).subquery("ends")
    at_least = 0 if until is None else _begin_of(until, BATCH_SECONDS)
    latest = func.max(ends.c.second)
    last = case((latest < at_least, at_least), else_=latest)
    line = select(func.min(ends.c.second).label("first"), last.label("last")).subquery("line")
    rows_but_one = (line.c.last - line.c.first) // BATCH_SECONDS
    seconds = ((rows_but_one // points + 1) * BATCH_SECONDS).label("seconds")
    return select(line.c.first, line.c.last, seconds).subquery("scale")


def _parts_of(batch_id: UUID) -> tuple[Select[Any], Select[Any]]:
    """Return what was folded, ten seconds a row, and what was not, as if it were."""
    is_work = Tally.kind.in_(WORK)
    failed = case((Tally.failed > 0, Tally.failed), else_=0)
    nanodollars = case((is_work, Tally.nanodollars), else_=0)
    second = MillisecondsOf(Tally.id) // (BATCH_SECONDS * 1000) * BATCH_SECONDS
    sums = (getattr(BatchActivity, name) for name in BatchSums._fields)
    folded = select(BatchActivity.second, *sums).where(BatchActivity.batch_id == batch_id)
    unfolded = select(
        second.label("second"),
        Tally.done,
        failed.label("failed"),
        nanodollars.label("nanodollars"),
    ).where(Tally.batch_id == batch_id, or_(Tally.done != 0, failed != 0, nanodollars != 0))
    return folded, unfolded


def _begin_of(moment: datetime, seconds: int) -> int:
    return int(moment.timestamp()) // seconds * seconds


def recent_rates(session: Session, batch_ids: Collection[UUID], now: datetime) -> dict[UUID, float]:
    """Return how many images a second came of batches in the last minute.

    It is the last 60 to 70 seconds, since sums are of ten.

    Args:
        session: reads, in one statement.
        batch_ids: each of them is a key of what is returned.
        now: as the database tells it.
    """
    last = datetime.fromtimestamp(_begin_of(now, BATCH_SECONDS), UTC)
    begin = last - timedelta(seconds=RATE_SECONDS)
    end = last + timedelta(seconds=BATCH_SECONDS)
    folded = select(BatchActivity.batch_id, BatchActivity.done).where(
        BatchActivity.batch_id.in_(batch_ids),
        BatchActivity.second >= int(begin.timestamp()),
        BatchActivity.second < int(end.timestamp()),
    )
    unfolded = select(Tally.batch_id, Tally.done).where(
        Tally.batch_id.in_(batch_ids),
        Tally.id >= first_id_of(begin),
        Tally.id < first_id_of(end),
        Tally.done != 0,
    )
    parts = union_all(folded, unfolded).subquery("parts")
    sums = select(parts.c.batch_id, func.sum(parts.c.done)).group_by(parts.c.batch_id)
    seconds = (now - begin).total_seconds()
    done = {batch_id: int(images) / seconds for batch_id, images in session.execute(sums)}
    return {batch_id: done.get(batch_id, 0.0) for batch_id in batch_ids}


def worker_series(
    session: Session, worker_ids: Collection[UUID], now: datetime, minutes: int = HOUR
) -> dict[UUID, WorkerSeries]:
    """Return how busy workers were in the last minutes, and what they have cost.

    Work counts when it has ended: of an image that takes long, the last minutes tell too
    little until it is done.

    Args:
        session: reads.
        worker_ids: each of them is a key of what is returned.
        now: as the database tells it.
        minutes: how many there shall be, the one under way included; a day's at most are kept.
    """
    last = _begin_of(now, MINUTE)
    line = range(last - (minutes - 1) * MINUTE, last + MINUTE, MINUTE)
    hour = range(last - (HOUR - 1) * MINUTE, last + MINUTE, MINUTE)
    did = _work_by_minute(session, worker_ids, min(line.start, hour.start))
    booked = read_worker_costs(session, worker_ids)
    lengths = dict.fromkeys(line, MINUTE * NANOSECONDS)
    lengths[last] = max(1, int((now.timestamp() - last) * NANOSECONDS))
    return {
        worker_id: WorkerSeries(
            datetime.fromtimestamp(line.start, UTC),
            tuple(
                min(1.0, minutes.get(second, NOTHING_DONE).busy_ns / length)
                for second, length in lengths.items()
            ),
            tuple(minutes.get(second, NOTHING_DONE).images for second in line),
            _sum([minutes[second] for second in hour if second in minutes]),
            Amounts(booked.get(worker_id, {})),
        )
        for worker_id, minutes in did.items()
    }


def _sum(parts: Sequence[WorkerSums]) -> WorkerSums:
    return WorkerSums(*map(sum, zip(NOTHING_DONE, *parts, strict=True)))


def _work_by_minute(
    session: Session, worker_ids: Collection[UUID], since: int
) -> Mapping[UUID, Mapping[int, WorkerSums]]:
    """Return what each of some workers did, by the second when the minute began."""
    did: dict[UUID, dict[int, WorkerSums]] = {worker_id: {} for worker_id in worker_ids}
    for worker_id, milliseconds, is_folded, *figures in session.execute(
        _parts_of_workers(worker_ids, since)
    ):
        work = WorkerSums._make(figures)
        of_worker = did[worker_id]
        parts = [(milliseconds // 1000, work)] if is_folded else spread(milliseconds, work)
        for second, part in parts:
            known = of_worker.get(second)
            of_worker[second] = part if known is None else part.plus(known)
    return did


def _parts_of_workers(worker_ids: Collection[UUID], since: int) -> CompoundSelect[Any]:
    """Return what was folded, a minute a row, and tallies as they are."""
    begin = datetime.fromtimestamp(since, UTC)
    folded = select(
        WorkerActivity.worker_id,
        (WorkerActivity.second * 1000).label("milliseconds"),
        true().label("is_folded"),
        *(getattr(WorkerActivity, name) for name in WorkerSums._fields),
    ).where(WorkerActivity.worker_id.in_(worker_ids), WorkerActivity.second >= since)
    unfolded = select(
        Tally.worker_id,
        MillisecondsOf(Tally.id),
        false(),
        case((Tally.kind == LedgerKind.RENDER.value, Tally.entries), else_=0),
        Tally.device_ns,
        Tally.nanodollars,
    ).where(
        Tally.worker_id.in_(worker_ids),
        # Of the index that serves, literally.
        Tally.kind.is_not(None),
        Tally.kind.in_(WORK),
        Tally.id >= first_id_of(begin),
    )
    return union_all(folded, unfolded)
