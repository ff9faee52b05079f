"""Bring a database to this version's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from shared.db.engine import Database
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext

MIGRATIONS = Path(__file__).parent / "migrations"
POSTGRES_MIGRATION_LOCK = 0x7E57E9


def migrate(database: Database, *, revision: str = "head") -> None:
    """Upgrade to ``revision``. Safe to call from several processes at once.

    Raises:
        ConfigurationError: the database was written by a newer tenstep.
        ServiceUnavailableError: it does not answer.
    """
    database.check()
    if revision == "head" and current_revision(database) == known_revisions()[-1]:
        # As good as always: no lock is taken for it, and Alembic is not even imported.
        return
    from alembic import command
    from alembic.runtime.migration import MigrationContext

    config = _config()
    with database.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({POSTGRES_MIGRATION_LOCK})")
        _refuse_unknown_revision(config, MigrationContext.configure(connection))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def downgrade(database: Database, revision: str) -> None:
    """Go back to ``revision``."""
    from alembic import command

    config = _config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def current_revision(database: Database) -> str | None:
    """Return which revision's tables a database has; None if none."""
    try:
        with database.read() as session:
            found: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
            return found
    except DatabaseError:  # there is no such table yet
        return None


def known_revisions() -> Sequence[str]:
    """Return the revisions that the migrations' files are named after, the newest last."""
    return sorted(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _refuse_unknown_revision(config: Config, context: MigrationContext) -> None:
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = context.get_current_revision()
    if current is not None and current not in known:
        raise ConfigurationError(
            f"the database was written by a newer tenstep (revision {current})",
            hint="Use that version, or another TENSTEP_DATA_DIR or TENSTEP_DATABASE_URL.",
        )
