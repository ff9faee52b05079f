"""The database that commands in processes of their own write to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.db.engine import Database


@contextmanager
def opened_books(environment: dict[str, str]) -> Iterator[Database]:
    """Open it; a command for every look would take a core for itself."""
    sqlite = Path(environment["TENSTEP_DATA_DIR"]) / "tenstep.sqlite3"
    database = Database(environment.get("TENSTEP_DATABASE_URL", f"sqlite:///{sqlite}"))
    yield database
    database.close()
