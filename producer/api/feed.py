"""What many look at, read once however many ask."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from anyio.to_thread import run_sync

from producer.keys import Principal

MAX_AGE_SECONDS = 0.5
SWEPT_AT = 500
"""Readings, from which on those are forgotten that are too old for anybody."""

Value = TypeVar("Value")
Read = Callable[[UUID, Principal], Mapping[str, Any]]


class SharedReads(Generic[Value]):
    """Reads each thing at most twice a second; who asks in between gets what was read."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[float, Value]] = {}
        """With until when each is good, by the monotonic clock."""
        self._reading: dict[Hashable, asyncio.Task[Value]] = {}

    async def get(self, key: Hashable, read: Callable[[], Value], *, rest: float = 0) -> Value:
        """Return what is kept, or what is read now.

        Args:
            key: what is asked for, by whom as far as that matters.
            read: reads it; runs in a thread.
            rest: it is kept for so many times as long as it took to read, if that is longer.
        """
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() < kept[0]:
            return kept[1]
        task = self._reading.get(key)
        if task is None:
            task = asyncio.create_task(self._read_anew(key, read, rest))
            self._reading[key] = task
            task.add_done_callback(lambda done: self._has_read(key, done))
        # One who goes away must not take the answer from the others.
        return await asyncio.shield(task)

    def forget(self, is_meant: Callable[[Hashable], bool]) -> None:
        """Have some things read anew by whoever asks next; callable from threads."""
        for known in (self._kept, self._reading):  # what is being read may be of before
            for key in [key for key in known.copy() if is_meant(key)]:
                known.pop(key, None)

    def _has_read(self, key: Hashable, done: asyncio.Task[Value]) -> None:
        if self._reading.get(key) is done:
            self._reading.pop(key, None)
        if not done.cancelled():
            done.exception()  # asked for, or asyncio complains where nobody waits any more

    async def _read_anew(self, key: Hashable, read: Callable[[], Value], rest: float) -> Value:
        begin = time.monotonic()
        value = await run_sync(read)
        if self._reading.get(key) is not asyncio.current_task():
            return value
        end = time.monotonic()
        if len(self._kept) >= SWEPT_AT:
            for other, (good_until, _) in list(self._kept.items()):
                if good_until < end:
                    self._kept.pop(other, None)
        self._kept[key] = max(begin + MAX_AGE_SECONDS, end + rest * (end - begin)), value
        return value


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A batch at one moment, written out."""

    document: Mapping[str, Any]
    body: bytes
    """It as JSON."""
    etag: str
    """Of HTTP, with quotes."""

    @property
    def is_at_end(self) -> bool:
        """Whether nothing more will happen to it."""
        return bool(self.document["finished"])


class StatusFeed:
    """Batches' status.

    What is kept is kept by tenant too: the query that reads it is the one that knows whose a
    batch is.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._reads: SharedReads[Snapshot] = SharedReads()

    async def get(self, batch_id: UUID, who: Principal) -> Snapshot:
        """Return a batch's status, at most half a second old.

        Raises:
            ApiError: it is not there, or not theirs: 404.
        """
        key = batch_id, None if who.sees_all else who.tenant
        return await self._reads.get(key, lambda: _snapshot(self._read(batch_id, who)))

    def forget(self, batch_id: UUID) -> None:
        """Have a batch that was changed read anew by whoever asks next; callable from threads."""
        self._reads.forget(lambda key: isinstance(key, tuple) and key[0] == batch_id)


def _snapshot(document: Mapping[str, Any]) -> Snapshot:
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Snapshot(document, body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
