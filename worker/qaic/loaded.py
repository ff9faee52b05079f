"""Programs that stay loaded on a card, as many as its memory holds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from worker.qaic.session import CardSession
from worker.qaic.store import StoredQpc

SHARE_FOR_PROGRAMS = 0.9
"""Of a card's memory; the rest is for what goes in and comes out."""


@dataclass(slots=True)
class _Entry:
    session: CardSession
    bytes: int
    users: int = 0


class LoadedPrograms:
    """Sessions on one card. Where they do not all fit, that which was not used longest goes.

    A switch takes a card 100 to 200 ms, so all stay loaded where they can. What a program takes
    is estimated by its file, which is mostly weights.
    """

    def __init__(self, qid: int, memory_bytes: int) -> None:
        """Begin with none.

        Args:
            qid: the card.
            memory_bytes: its memory; 0 if that is unknown, then the card itself says when
                it is full.
        """
        self._qid = qid
        self._most_bytes = int(memory_bytes * SHARE_FOR_PROGRAMS) if memory_bytes else None
        self._lock = threading.RLock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    @property
    def loaded(self) -> list[str]:
        """Names of the folders of what is loaded, that which was used last at the end."""
        with self._lock:
            return list(self._entries)

    def fits(self, qpc: StoredQpc) -> bool:
        """Tell whether a program fits beside those that are loaded."""
        with self._lock:
            return self._most_bytes is None or self._bytes() + qpc.size <= self._most_bytes

    @contextmanager
    def use(self, qpc: StoredQpc) -> Iterator[CardSession]:
        """Lend a program's session, loaded now if need be; it stays loaded in the block.

        Raises:
            ConfigurationError: the program has changed, or the card does not take it.
            DeviceFaultError: the card is gone or not ready.
            DeviceLostError: the card fails while another program is taken off.
            MemoryError: it does not fit, and all others are in use.
        """
        name = qpc.folder.name
        with self._lock:
            entry = self._entries.get(name) or self._load(qpc)
            self._entries.move_to_end(name)
            entry.users += 1
        try:
            yield entry.session
        finally:
            with self._lock:
                entry.users -= 1

    def _load(self, qpc: StoredQpc) -> _Entry:
        qpc.verify()
        while not self.fits(qpc) and self._drop_one():
            pass
        while True:
            try:
                session = CardSession(qpc.path, self._qid)
            except MemoryError:
                if not self._drop_one():
                    raise
            else:
                break
        entry = self._entries[qpc.folder.name] = _Entry(session, qpc.size)
        return entry

    def _drop_one(self) -> bool:
        idle = next((name for name, entry in self._entries.items() if not entry.users), None)
        if idle is None:
            return False
        self._entries.pop(idle).session.close()
        return True

    def _bytes(self) -> int:
        return sum(entry.bytes for entry in self._entries.values())
