"""Bring a database to this version's tables."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from shared.db.engine import Database
from shared.errors import ConfigurationError

MIGRATIONS = Path(__file__).parent / "migrations"
POSTGRES_MIGRATION_LOCK = 0x7E57E9


def migrate(database: Database, *, revision: str = "head") -> None:
    """Upgrade to ``revision``. Safe to call from several processes at once.

    Raises:
        ConfigurationError: the database was written by a newer tenstep.
        ServiceUnavailableError: it does not answer.
    """
    database.check()
    config = _config()
    with database.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({POSTGRES_MIGRATION_LOCK})")
        _refuse_unknown_revision(config, MigrationContext.configure(connection))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def downgrade(database: Database, revision: str) -> None:
    """Go back to ``revision``."""
    config = _config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _refuse_unknown_revision(config: Config, context: MigrationContext) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = context.get_current_revision()
    if current is not None and current not in known:
        raise ConfigurationError(
            f"the database was written by a newer tenstep (revision {current})",
            hint="Use that version, or another TENSTEP_DATA_DIR or TENSTEP_DATABASE_URL.",
        )
