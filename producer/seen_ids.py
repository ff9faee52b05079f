"""Where in a prompt file an id was used first."""

from __future__ import annotations

import sqlite3


class SeenIds:
    """Remembers the line of every id. It spills to a private file on disk.

    A dict of ten million ids would take some two gigabytes.
    """

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, line) WITHOUT ROWID")

    def first_line(self, custom_id: str, line_number: int) -> int | None:
        """Return the line that used an id before, else remember this one."""
        inserted = self._connection.execute(
            "INSERT OR IGNORE INTO seen VALUES (?, ?)", (custom_id, line_number)
        )
        if inserted.rowcount == 1:
            return None
        found = self._connection.execute("SELECT line FROM seen WHERE id = ?", (custom_id,))
        return int(found.fetchone()[0])

    def close(self) -> None:
        """Drop it all."""
        self._connection.close()
