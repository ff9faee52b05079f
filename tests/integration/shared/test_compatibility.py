"""Which releases may use a database: those whose code knows the oldest revision that it names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

import shared.db.migrate as migration
from producer.cli.database import opened
from shared.db.engine import Database
from shared.db.migrate import current_revision, known_revisions, migrate, prepare
from shared.errors import ConfigurationError
from shared.settings import Settings

HEAD = known_revisions()[-1]
LATER = "9998"
SOURCE = f"""
import sqlalchemy as sa
from alembic import op

revision = '{LATER}'
down_revision = '{HEAD}'


def upgrade():
    op.create_table('of_a_later_release', sa.Column('id', sa.BigInteger(), primary_key=True))


def downgrade():
    op.drop_table('of_a_later_release')
"""

Release = Callable[[str], None]


@pytest.fixture
def later_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Database) -> Release:
    """Migrates as a release would that has one more migration, of this source."""

    def migrate_later(source: str) -> None:
        folder = tmp_path / "migrations"
        shutil.copytree(migration.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / f"{LATER}_later.py").write_text(source, "utf-8")
        with monkeypatch.context() as patch:
            patch.setattr(migration, "MIGRATIONS", folder)
            migrate(database)

    return migrate_later


def test_a_release_goes_on_with_tables_that_a_later_one_has_only_added_to(
    database: Database, later_release: Release
) -> None:
    later_release(SOURCE)

    migrate(database)
    prepare(database, may_migrate=False)

    assert current_revision(database) == LATER


def test_a_release_refuses_tables_that_a_later_one_has_changed_under_it(
    database: Database, later_release: Release
) -> None:
    later_release(f"{SOURCE}\n\nBREAKS_OLDER = True\n")

    with pytest.raises(ConfigurationError, match=rf"newer tenstep \(revision {LATER}\)"):
        migrate(database)
    with pytest.raises(ConfigurationError, match=f"which knows {HEAD}, cannot work"):
        prepare(database, may_migrate=False)


def test_who_may_not_migrate_refuses_older_tables_and_says_what_to_do(
    database_url: str,
) -> None:
    database = Database(database_url)
    with pytest.raises(ConfigurationError, match="has no tables, and this version needs"):
        prepare(database, may_migrate=False)
    migrate(database, revision="0016")

    with pytest.raises(ConfigurationError, match=f"revision 0016, .* those of {HEAD}") as caught:
        prepare(database, may_migrate=False)
    assert "tenstep migrate" in str(caught.value.hint)
    assert current_revision(database) == "0016"

    prepare(database, may_migrate=True)
    assert current_revision(database) == HEAD
    database.close()


def test_the_setting_keeps_commands_from_migrating_but_not_the_one_that_is_for_it(
    tmp_path: Path,
) -> None:
    settings = Settings(data_dir=tmp_path, migrate_at_start=False)

    with (
        pytest.raises(ConfigurationError, match="this version needs"),
        opened(settings, may_create=True),
    ):
        pass
    with opened(settings, may_create=True, migrates=True):
        pass
    with opened(settings) as database, database.read() as session:
        assert session.scalar(text("SELECT oldest_revision FROM compatibility")) == "0016"
