"""Old processes go on while a database is migrated: what they read and write stays there."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import text

import shared.db.migrate as migration
from shared.db.engine import Database
from shared.db.migrate import known_revisions, migrate
from support.contractions import contractions, tables_of

SINCE = "0016"
"""From here on releases are mixed; what came before was migrated with everything stopped."""
BREAKS_OLDER = re.compile(r"^BREAKS_OLDER = True$", re.MULTILINE)

TRIPS = {
    "DROP TABLE setback": "setback is gone",
    "ALTER TABLE setback DROP COLUMN attempts": "setback.attempts is gone or of another type",
    "ALTER TABLE setback RENAME COLUMN attempts TO tries": "setback.attempts is gone",
    "ALTER TABLE setback ALTER attempts TYPE text": "setback.attempts is gone or of another type",
    "ALTER TABLE batch ALTER tags SET NOT NULL": "batch.tags is gone or of another type",
    "ALTER TABLE batch ALTER safety_checker DROP DEFAULT": "batch.safety_checker has lost",
    "ALTER TABLE batch ADD colour text NOT NULL": "batch.colour is new and cannot be left out",
    "CREATE UNIQUE INDEX one ON batch (name)": "batch has other constraints: unique",
    "DROP INDEX ix_batch_key": "batch has other constraints: unique",
    "ALTER TABLE batch ADD CHECK (priority > 0)": "batch has other constraints: checks",
    "ALTER TABLE tally ADD FOREIGN KEY (batch_id) REFERENCES batch": "tally has other constraints",
}
FINE = [
    "CREATE TABLE colour (id bigint PRIMARY KEY)",
    "ALTER TABLE batch ADD colour text",
    "ALTER TABLE batch ADD colour text NOT NULL DEFAULT ''",
    "CREATE INDEX ix_batch_name ON batch (name)",
]


@pytest.fixture
def empty(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url)
    yield database
    database.close()


def test_every_migration_only_expands_or_says_that_it_breaks_older_code(empty: Database) -> None:
    migrate(empty, revision=SINCE)
    before = tables_of(empty)
    for revision in [found for found in known_revisions() if found > SINCE]:
        migrate(empty, revision=revision)
        after = tables_of(empty)
        [path] = (migration.MIGRATIONS / "versions").glob(f"{revision}_*.py")
        if not BREAKS_OLDER.search(path.read_text("utf-8")):
            assert list(contractions(before, after)) == [], path.name
        before = after


@pytest.mark.parametrize("statement", TRIPS)
def test_what_old_code_would_trip_over_is_found(
    postgres_database: Database, statement: str
) -> None:
    before = tables_of(postgres_database)
    with postgres_database.write() as session:
        session.execute(text(statement))

    found = next(contractions(before, tables_of(postgres_database)))
    assert found.startswith(TRIPS[statement])


@pytest.mark.parametrize("statement", FINE)
def test_what_old_code_does_not_notice_is_let_through(
    postgres_database: Database, statement: str
) -> None:
    before = tables_of(postgres_database)
    with postgres_database.write() as session:
        session.execute(text(statement))

    assert list(contractions(before, tables_of(postgres_database))) == []
