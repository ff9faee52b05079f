"""Where in a prompt file an id was used first."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Sequence

from shared.errors import InputError, ServiceUnavailableError

MAX_IDS = 11_000_000
"""More than the jobs of a batch."""
IDS_A_WRITE = 4_000
LINE_BITS = 28
MAX_LINES = 2**LINE_BITS
HASH_BITS = 64 - LINE_BITS
LINE_MASK = 2**LINE_BITS - 1
HASH_MASK = 2**HASH_BITS - 1
FIRST_SLOTS = 2**15
GROWTH = 8
"""Steps of 2^15, 2^18, 2^21 and 2^24 slots: a step keeps the old ones for a moment."""
MAX_LOAD = 0.7


class SeenIds:
    """Remembers the line of every id: a hash of each in memory, the ids in a file on disk.

    A dict of ten million ids would take some two gigabytes, and an index of them on disk
    several microseconds an id. Each slot of the hash table is 36 bits of an id's hash and
    28 bits of its line; 0 is a free one.
    """

    def __init__(self) -> None:
        self._slots = array("Q", [0]) * FIRST_SLOTS
        self._count = 0
        self._unwritten: dict[int, str] = {}
        # A private file that SQLite removes.
        self._ids = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._ids.execute("PRAGMA synchronous = OFF")
        self._ids.execute("PRAGMA journal_mode = OFF")
        self._ids.execute("CREATE TABLE seen (line INTEGER PRIMARY KEY, id TEXT)")

    def second_uses(self, uses: Sequence[tuple[int, str]]) -> dict[int, int]:
        """Remember the ids of lines; return lines whose id was used before, and where first.

        Args:
            uses: line number and id, in the order of the lines.

        Raises:
            InputError: there are more lines or ids than it can hold.
            ServiceUnavailableError: the disk is full.
        """
        if not uses:
            return {}
        if uses[-1][0] >= MAX_LINES or self._count + len(uses) > MAX_IDS:
            raise InputError(
                f"there are more than {MAX_IDS:,} ids, or than {MAX_LINES:,} lines",
                hint="Submit it in parts.",
            )
        if self._count + len(uses) > MAX_LOAD * len(self._slots):
            self._grow()
        try:
            return self._remember(uses)
        except sqlite3.Error as error:
            raise ServiceUnavailableError(
                f"cannot keep the ids in the folder for temporary files: {error}"
            ) from error

    def close(self) -> None:
        """Drop it all."""
        self._ids.close()

    def _remember(self, uses: Sequence[tuple[int, str]]) -> dict[int, int]:
        slots, mask = self._slots, len(self._slots) - 1
        unwritten = self._unwritten
        before = len(unwritten)
        second: dict[int, int] = {}
        for line, used in uses:
            digest = hash(used) & HASH_MASK
            slot = digest & mask
            while entry := slots[slot]:
                if entry >> LINE_BITS == digest:
                    first = entry & LINE_MASK
                    if (unwritten.get(first) or self._id_of(first)) == used:
                        second[line] = first
                        break
                slot = (slot + 1) & mask
            else:
                slots[slot] = digest << LINE_BITS | line
                unwritten[line] = used
        self._count += len(unwritten) - before
        if len(unwritten) > IDS_A_WRITE:
            self._write()
        return second

    def _write(self) -> None:
        self._ids.execute("BEGIN")
        self._ids.executemany("INSERT INTO seen VALUES (?, ?)", self._unwritten.items())
        self._ids.execute("END")
        self._unwritten.clear()

    def _id_of(self, line: int) -> str:
        found = self._ids.execute("SELECT id FROM seen WHERE line = ?", (line,))
        return str(found.fetchone()[0])

    def _grow(self) -> None:
        slots = array("Q", [0]) * (len(self._slots) * GROWTH)
        mask = len(slots) - 1
        for entry in self._slots:
            if entry:
                slot = (entry >> LINE_BITS) & mask
                while slots[slot]:
                    slot = (slot + 1) & mask
                slots[slot] = entry
        self._slots = slots
