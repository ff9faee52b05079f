"""The database of a command that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import InputError

if TYPE_CHECKING:
    from shared.db.engine import Database
    from shared.settings import Settings


def is_there(settings: Settings) -> bool:
    """Tell whether there may be a database: a file, if it is one."""
    from sqlalchemy.engine import make_url

    path = make_url(settings.resolved_database_url).database
    is_file = settings.resolved_database_url.startswith("sqlite")
    return not is_file or path is None or Path(path).exists()


@contextmanager
def opened(
    settings: Settings, *, may_create: bool = False, migrates: bool = False
) -> Iterator[Database]:
    """Connect, have this version's tables, and close at the end.

    Args:
        settings: where it is.
        may_create: make the file of a SQLite database that is not there. A command that
            only looks should leave no empty database where somebody called it by mistake.
        migrates: bring older tables to this version's, whatever the settings say.

    Raises:
        ConfigurationError: its tables are not for this version.
        InputError: it is not there.
        ServiceUnavailableError: it does not answer.
    """
    from shared.db.engine import Database
    from shared.db.migrate import prepare

    if not may_create and not is_there(settings):
        raise InputError(
            f"there is no batch yet: no database in {settings.data_dir.absolute()}",
            hint="Submit one with tenstep submit FILE, or set TENSTEP_DATA_DIR.",
        )
    database = Database(settings.resolved_database_url)
    try:
        prepare(database, may_migrate=migrates or settings.migrate_at_start)
        yield database
    finally:
        database.close()
