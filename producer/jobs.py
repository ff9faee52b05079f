"""A page of a batch's jobs, in order of position, as quick in a batch of ten million.

Every page begins where the last one ended and is read through an index that has its jobs in
order: nothing is counted or skipped. What no index knows is looked for in a stretch of the
batch at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, func, or_, select
from sqlalchemy.orm import Session

from producer.job_streams import JobStream
from producer.listed_jobs import JobFilter, JobPage, ListedJob
from producer.text_search import contains
from shared.db.engine import Database
from shared.db.tables import Attempt, Job
from shared.domain.jobs import JobState
from shared.errors import InputError

__all__ = ["JobFilter", "JobPage", "ListedJob", "list_jobs", "look_on"]

MAX_JOBS_A_PAGE = 1_000
POSITIONS_A_LOOK = 5_000
"""How much of a batch one page looks through: some milliseconds."""
MAX_POSITION = 2**63 - 1
BEFORE_ALL = -1
INDEXED = frozenset({JobState.FAILED, JobState.HELD, JobState.LEASED})
"""States whose jobs an index has apart from all others."""


def list_jobs(
    session: Session, batch_id: UUID, only: JobFilter, after: int | None, limit: int
) -> JobPage:
    """Return the first jobs after a position; from the first on when it is None.

    A text, or a state that no index has in order, is looked for in 5,000 positions: with
    few jobs like that the page is partial, and the next one goes on after it.

    Raises:
        InputError: no such position or limit.
    """
    begin = _checked(after, limit)
    state = only.wanted_state
    source = state if state in INDEXED else None
    stream = JobStream(session, batch_id, source, only.error)
    unindexed = _unindexed(session, only)
    if unindexed and state is not JobState.LEASED:
        return _looked_for(session, stream, unindexed, begin, limit)
    rows = stream.read(begin, limit + 1, *unindexed)
    jobs = _with_costs(session, rows[:limit])
    return JobPage(jobs, next=jobs[-1].position if len(rows) > limit else None)


def look_on(
    database: Database, batch_id: UUID, only: JobFilter, after: int | None, limit: int
) -> Iterator[JobPage]:
    """Look until a page is full or the batch ends; yields the page as it grows.

    Every look is a transaction of its own.

    Raises:
        InputError: no such position or limit.
    """
    begin = after
    jobs: list[ListedJob] = []
    while True:
        with database.read() as session:
            page = list_jobs(session, batch_id, only, begin, limit - len(jobs))
        jobs += page.jobs
        if page.looked_through is None:
            yield replace(page, jobs=tuple(jobs))
            return
        looked_through = (_following(after), page.looked_through[1])
        yield replace(page, jobs=tuple(jobs), looked_through=looked_through)
        begin = page.next


def _checked(after: int | None, limit: int) -> int:
    if not 1 <= limit <= MAX_JOBS_A_PAGE:
        raise InputError(f"limit: a page has 1 to {MAX_JOBS_A_PAGE:,} jobs, not {limit:,}")
    if after is None:
        return BEFORE_ALL
    if not 0 <= after <= MAX_POSITION:
        raise InputError(
            f"after: {after} is no position", hint="Take the one that the last page ended with."
        )
    return after


def _following(after: int | None) -> int:
    return 0 if after is None else after + 1


def _looked_for(
    session: Session,
    stream: JobStream,
    conditions: Sequence[ColumnElement[bool]],
    after: int,
    limit: int,
) -> JobPage:
    """Look at the jobs of a stretch one by one; it begins with the first there is."""
    first = stream.first(after)
    if first is None:
        return JobPage((), next=None)
    last = min(first + POSITIONS_A_LOOK - 1, MAX_POSITION)
    rows = stream.read(after, limit + 1, Job.position <= last, *conditions)
    jobs = _with_costs(session, rows[:limit])
    if len(rows) > limit:
        return JobPage(jobs, next=jobs[-1].position)
    if stream.first(last) is None:
        return JobPage(jobs, next=None)
    is_full = len(jobs) == limit
    return JobPage(jobs, next=last, looked_through=None if is_full else (after + 1, last))


def _unindexed(session: Session, only: JobFilter) -> list[ColumnElement[bool]]:
    """Return the conditions that are looked for job by job."""
    conditions: list[ColumnElement[bool]] = []
    if only.state is not None and only.state not in INDEXED:
        conditions.append(Job.state == only.state)
    if only.text is not None:
        dialect = session.get_bind().dialect.name
        columns = (Job.prompt, Job.custom_id)
        conditions.append(or_(*(contains(one, only.text, dialect=dialect) for one in columns)))
    return conditions


def _with_costs(session: Session, rows: Sequence[Row[Any]]) -> Sequence[ListedJob]:
    """Add what was booked for the attempts at each job."""
    costs = session.execute(
        select(Attempt.job_id, func.sum(Attempt.cost_nanodollars))
        .where(Attempt.job_id.in_([row.id for row in rows]))
        .group_by(Attempt.job_id)
    )
    booked = {job_id: int(cost or 0) for job_id, cost in costs}
    return tuple(
        ListedJob(
            id=row.id,
            position=row.position,
            custom_id=row.custom_id,
            state=JobState(row.state),
            prompt=row.prompt,
            attempts=row.attempts,
            error_code=row.error_code,
            image_key=row.image_key,
            cost_nanodollars=booked.get(row.id, 0),
        )
        for row in rows
    )
