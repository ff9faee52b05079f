"""The backlog as a table: what KEDA asks, for it can run a query and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from producer.backlog import Backlog, read_backlog
from shared.db.adding import add_to_rows
from shared.db.backlog_tables import ALL, BacklogRow
from shared.db.engine import Database
from shared.db.fleet import live_kinds

VALUES = ("jobs", "device_ns", "unrated_jobs", "written_at")


def rewrite_backlog(database: Database, silence: timedelta, now: datetime) -> None:
    """Read what is to be drawn, and make the table say that.

    Args:
        database: both are in.
        silence: after which a worker does not count as alive.
        now: as the database tells it.
    """
    with database.snapshot() as session:
        backlog = read_backlog(session, live_kinds(session, now, silence))
    with database.write() as session:
        write_backlog(session, backlog, now)


def write_backlog(session: Session, backlog: Backlog, now: datetime) -> None:
    """Make the table say this, and nothing else.

    Two that write wait for each other at the row of all jobs, which has the lowest key.
    """
    rows = [{**row, "written_at": now} for row in _rows(backlog)]
    add_to_rows(session, BacklogRow, rows, latest=VALUES)
    session.execute(delete(BacklogRow).where(BacklogRow.written_at != now))


def _rows(backlog: Backlog) -> Iterator[Mapping[str, object]]:
    yield _row(ALL, ALL, sum(backlog.jobs.values()), device_ns=0, unrated_jobs=0)
    for (kind, model), device_ns in backlog.device_ns.items():
        yield _row(kind, model, backlog.jobs[model], device_ns=device_ns, unrated_jobs=0)
    for (kind, model), jobs in backlog.unrated_jobs.items():
        yield _row(kind, model, backlog.jobs[model], device_ns=0, unrated_jobs=jobs)


def _row(
    kind: str, model: str, jobs: int, *, device_ns: int, unrated_jobs: int
) -> Mapping[str, object]:
    return {
        "device_kind": kind,
        "model": model,
        "jobs": jobs,
        "device_ns": device_ns,
        "unrated_jobs": unrated_jobs,
    }
