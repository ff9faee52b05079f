"""New jobs by the ten thousand: each database's own fastest way in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from shared.domain.quality import Quality


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
    quality: str = Quality.EXACT.value


class ReusedJob(NamedTuple):
    """What a job has besides, when its image is there already."""

    fingerprint: str
    reused_from: str
    image_key: str
    image_sha256: str
    image_bytes: int
    finished_at: datetime


Row = tuple[Any, ...]


def insert_jobs(session: Session, jobs: Sequence[Row]) -> None:
    """Write jobs of one batch; each has the fields of `NewJob`.

    Raises:
        sqlalchemy.exc.IntegrityError: one of these positions is taken.
    """
    _insert(session, NewJob._fields, jobs)


def insert_reused_jobs(session: Session, jobs: Sequence[tuple[NewJob, ReusedJob]]) -> None:
    """Write jobs that are done, with the images that they have from before.

    Raises:
        sqlalchemy.exc.IntegrityError: one of these positions is taken.
    """
    rows: list[Row] = [(*job, *reused) for job, reused in jobs]
    if session.get_bind().dialect.name == "sqlite":
        rows = [(*row[:-1], _as_sqlite_keeps(row[-1])) for row in rows]
    _insert(session, NewJob._fields + ReusedJob._fields, rows)


def _insert(session: Session, columns: Sequence[str], rows: Sequence[Row]) -> None:
    if not rows:
        return
    listed = ", ".join(columns)
    if session.get_bind().dialect.name == "postgresql":
        _copy(session, f"COPY job ({listed}) FROM STDIN", rows)
    else:
        places = ", ".join("?" for _ in columns)
        insert = f"INSERT INTO job ({listed}) VALUES ({places})"  # noqa: S608 - of our own names
        session.connection().exec_driver_sql(insert, list(rows))


def _copy(session: Session, statement: str, rows: Sequence[Row]) -> None:
    driver: Any = session.connection().connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        # Not SQLAlchemy's own call, but whoever calls knows its errors alone.
        wrapped: Any = DBAPIError.instance
        raise wrapped(statement, None, error, psycopg.Error, hide_parameters=True) from error


def _as_sqlite_keeps(moment: datetime) -> str:
    """Write a time as SQLAlchemy would for SQLite, which has no zones."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
