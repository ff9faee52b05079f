"""New jobs by the ten thousand: each database's own fastest way in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session


class NewJob(NamedTuple):
    """A job's columns, in the order in which they are written; the others are null.

    Ids are 32 hexadecimal digits and details are JSON already: both databases take them so.
    """

    id: str
    batch_id: str
    position: int
    custom_id: str | None
    source_line: int | None
    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    scheduler: str
    steps: int
    squeeze: str | None
    guidance_scale: float
    guidance_rescale: float
    details: str
    state: str
    attempts: int = 0
    fencing_token: int = 0
    fingerprint: str | None = None
    reused_from: str | None = None
    image_key: str | None = None
    image_sha256: str | None = None
    image_bytes: int | None = None
    finished_at: datetime | None = None


COLUMNS = ", ".join(NewJob._fields)
COPY = f"COPY job ({COLUMNS}) FROM STDIN"
INSERT = f"INSERT INTO job ({COLUMNS}) VALUES ({', '.join('?' for _ in NewJob._fields)})"  # noqa: S608 - of our own names


def insert_jobs(session: Session, jobs: Sequence[NewJob]) -> None:
    """Write jobs of one batch.

    Raises:
        sqlalchemy.exc.IntegrityError: one of these positions is taken.
    """
    if session.get_bind().dialect.name == "postgresql":
        _copy(session, jobs)
    else:
        rows = [job if job.finished_at is None else _as_sqlite_keeps(job) for job in jobs]
        session.connection().exec_driver_sql(INSERT, rows)


def _copy(session: Session, jobs: Sequence[NewJob]) -> None:
    driver: Any = session.connection().connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(COPY) as copy:
            for job in jobs:
                copy.write_row(job)
    except psycopg.Error as error:
        # Not SQLAlchemy's own call, but whoever calls knows its errors alone.
        wrapped: Any = DBAPIError.instance
        raise wrapped(COPY, None, error, psycopg.Error, hide_parameters=True) from error


def _as_sqlite_keeps(job: NewJob) -> tuple[Any, ...]:
    """Write the time as SQLAlchemy would for SQLite, which has no zones."""
    finished_at = job.finished_at and job.finished_at.astimezone(UTC)
    return *job[:-1], finished_at and finished_at.strftime("%Y-%m-%d %H:%M:%S.%f")
