"""The status of batches, read once however many ask."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from anyio.to_thread import run_sync

from producer.keys import Principal

MAX_AGE_SECONDS = 0.5
MOST_KEPT = 5_000

Read = Callable[[UUID, Principal], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A batch at one moment, written out."""

    body: bytes
    """JSON."""
    etag: str
    """Of HTTP, with quotes."""
    is_at_end: bool
    """Whether nothing more will happen to it."""
    read_at: float
    """By the monotonic clock."""


class StatusFeed:
    """Reads a batch's status at most twice a second; who asks in between gets what was read.

    What is kept is kept by tenant too: the query that reads it is the one that knows whose a
    batch is.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._kept: dict[tuple[UUID, str | None], Snapshot] = {}
        self._reading: dict[tuple[UUID, str | None], asyncio.Task[Snapshot]] = {}

    async def get(self, batch_id: UUID, who: Principal) -> Snapshot:
        """Return a batch's status, at most half a second old.

        Raises:
            ApiError: it is not there, or not theirs: 404.
        """
        key = batch_id, None if who.sees_all else who.tenant
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() - kept.read_at < MAX_AGE_SECONDS:
            return kept
        task = self._reading.get(key)
        if task is None:
            task = asyncio.create_task(self._read_anew(key, who))
            self._reading[key] = task
            task.add_done_callback(lambda done: self._has_read(key, done))
        # One who goes away must not take the answer from the others.
        return await asyncio.shield(task)

    def forget(self, batch_id: UUID) -> None:
        """Have a batch that was changed read anew by whoever asks next; callable from threads."""
        for key in [key for key in self._kept.copy() if key[0] == batch_id]:
            self._kept.pop(key, None)

    def _has_read(self, key: tuple[UUID, str | None], done: asyncio.Task[Snapshot]) -> None:
        self._reading.pop(key, None)
        if not done.cancelled():
            done.exception()  # asked for, or asyncio complains where nobody waits any more

    async def _read_anew(self, key: tuple[UUID, str | None], who: Principal) -> Snapshot:
        begin = time.monotonic()
        document = await run_sync(self._read, key[0], who)
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        digest = hashlib.sha256(body).hexdigest()[:32]
        snapshot = Snapshot(body, f'"{digest}"', bool(document["finished"]), begin)
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[key] = snapshot
        return snapshot
