"""Rows that are written together are written as each would be alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError

from shared.db.engine import Database
from shared.db.many_rows import insert_each, update_each
from shared.db.tables import Attempt
from shared.domain.identifiers import new_id
from support.factories import START, add_batch, jobs_of

ATTEMPTS = cast("Table", Attempt.__table__)
TELL = (
    update(ATTEMPTS)
    .where(ATTEMPTS.c.id == bindparam("of_attempt"), ATTEMPTS.c.outcome == "running")
    .values({name: bindparam(name) for name in ("record", "finished_at", "error_message")})
    .values(error_code="told")
)
KEYS = {"of_attempt": "id"}
TEXTS = ("", 'it\'s "quoted" \\ and %s :name {}', "Ein Käfer 🐞\n\ttwice", None)
RECORDS = ({}, {"timesteps": [999, 0.5], "lost": TEXTS[2]}, {"a": {"b": [None, True]}}, None)
LARGE = 2**62
"""More than a JSON number in double precision can tell from its neighbours."""

Rows = list[dict[str, Any]]


@pytest.fixture
def rows(database: Database) -> Rows:
    """Attempts, one at each job of a batch, as they were inserted together."""
    with database.write() as session:
        batch = add_batch(session, jobs=len(TEXTS))
        made = [
            {
                "id": new_id(),
                "job_id": job.id,
                "batch_id": batch.id,
                "number": job.position,
                "fencing_token": LARGE + job.position,
                "chunk_id": None,
                "worker_id": new_id(),
                "device_kind": "cpu",
                "device_name": TEXTS[1],
                "outcome": "running",
                "claimed_at": START + timedelta(microseconds=job.position),
            }
            for job in jobs_of(session, batch.id)
        ]
        assert insert_each(session.connection(), ATTEMPTS, made) == len(made)
    return made


def stored(database: Database) -> dict[UUID, dict[str, Any]]:
    with database.read() as session:
        return {row.id: row._asdict() for row in session.connection().execute(select(ATTEMPTS))}


def told(rows: Rows) -> Rows:
    return [
        {
            "of_attempt": row["id"],
            "record": RECORDS[at],
            "finished_at": START + timedelta(microseconds=1),
            "error_message": TEXTS[at],
        }
        for at, row in enumerate(rows)
    ]


def test_each_value_is_inserted_as_it_is(database: Database, rows: Rows) -> None:
    found = stored(database)
    assert [{name: found[row["id"]][name] for name in row} for row in rows] == rows


def test_each_row_is_updated_with_its_own_values(database: Database, rows: Rows) -> None:
    with database.write() as session:
        assert update_each(session.connection(), TELL, told(rows), KEYS) == len(rows)
    found = stored(database)
    assert all(row["error_code"] == "told" for row in found.values())
    for given in told(rows):
        row = found[given.pop("of_attempt")]
        assert {name: row[name] for name in given} == given


def test_rows_that_the_condition_leaves_out_are_not_counted(database: Database, rows: Rows) -> None:
    with database.write() as session:
        session.execute(update(Attempt).where(Attempt.number == 2).values(outcome="lost"))
        assert update_each(session.connection(), TELL, told(rows), KEYS) == len(rows) - 1


def test_rows_that_are_there_are_left_out_where_that_is_asked_for(
    database: Database, rows: Rows
) -> None:
    with database.write() as session:
        session.execute(ATTEMPTS.delete().where(ATTEMPTS.c.id == rows[0]["id"]))
        inserted = insert_each(session.connection(), ATTEMPTS, rows, once_by="id")
    assert inserted == 1
    assert stored(database).keys() == {row["id"] for row in rows}


def test_one_value_that_does_not_fit_leaves_all_rows_as_they_were(
    database: Database, rows: Rows
) -> None:
    before = stored(database)
    given = told(rows)
    given[2]["record"] = {"model": object()}
    with pytest.raises((SQLAlchemyError, ValueError, TypeError)), database.write() as session:
        update_each(session.connection(), TELL, given, KEYS)
    assert stored(database) == before
