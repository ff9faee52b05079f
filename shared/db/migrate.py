"""Bring a database to this version's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.exc import DatabaseError

from shared.db.engine import Database
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"
POSTGRES_MIGRATION_LOCK = 0x7E57E9


def prepare(database: Database, *, may_migrate: bool) -> None:
    """Have tables that this version can work with.

    Args:
        database: where.
        may_migrate: bring older tables to this version's; else that is left to
            ``tenstep migrate``.

    Raises:
        ConfigurationError: they are older and may not be migrated, or too new.
        ServiceUnavailableError: it does not answer.
    """
    if may_migrate:
        migrate(database)
        return
    database.check()
    current, known = current_revision(database), known_revisions()
    if current is None or current in known[:-1]:
        found = "no tables" if current is None else f"the tables of revision {current}"
        raise ConfigurationError(
            f"the database has {found}, and this version needs those of {known[-1]}",
            hint="Run tenstep migrate with this version. Others may go on meanwhile.",
        )
    if current not in known:
        _refuse_what_is_too_new(database, current)


def migrate(database: Database, *, revision: str = "head") -> None:
    """Upgrade to ``revision``. Safe to call from several processes at once.

    Tables of a newer version are left as they are, if this one's code can work with them.

    Raises:
        ConfigurationError: a newer tenstep has made tables that this one cannot work with.
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
        current = MigrationContext.configure(connection).get_current_revision()
        if current is None or current in known_revisions():
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            _note_what_breaks_older(config, connection, current)
            return
    _refuse_what_is_too_new(database, current)


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


def is_compatible(database: Database) -> bool:
    """Tell whether this version can work with the tables of a newer one: they say so."""
    try:
        with database.read() as session:
            oldest = session.scalar(text("SELECT oldest_revision FROM compatibility"))
    except DatabaseError:  # no version that this one knows of has made them
        return False
    return oldest in known_revisions()


def _refuse_what_is_too_new(database: Database, current: str) -> None:
    if not is_compatible(database):
        raise ConfigurationError(
            f"the database was written by a newer tenstep (revision {current}), and this one, "
            f"which knows {known_revisions()[-1]}, cannot work with its tables",
            hint="Use that version, or another TENSTEP_DATA_DIR or TENSTEP_DATABASE_URL.",
        )


def _note_what_breaks_older(config: Config, connection: Connection, before: str | None) -> None:
    """Raise the oldest revision to the last of the new ones that says ``BREAKS_OLDER``."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    now = MigrationContext.configure(connection).get_current_revision()
    new = ScriptDirectory.from_config(config).iterate_revisions(now, before or "base")
    for script in new:
        if getattr(script.module, "BREAKS_OLDER", False):
            raised = text("UPDATE compatibility SET oldest_revision = :oldest")
            connection.execute(raised, {"oldest": script.revision})
            return
