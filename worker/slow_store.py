"""A store that is further away than it is, for simulated devices."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import IO

from shared.storage.base import IMAGES, ObjectStore, StoredObject


class SlowStore:
    """Takes longer to put an image than the store behind it; nothing else."""

    def __init__(self, store: ObjectStore, seconds: float) -> None:
        """Put some seconds before every image.

        Args:
            store: has the objects.
            seconds: of each image; its thumbnail has none of its own.
        """
        self._store = store
        self._seconds = seconds

    @property
    def display_url(self) -> str:
        """Where it is, without secrets."""
        return self._store.display_url

    def check(self) -> None:
        """Write, read and delete a small object."""
        self._store.check()

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Wait, if it is an image, and write."""
        if key.startswith(IMAGES):
            time.sleep(self._seconds)
        self._store.put(key, data, content_type)

    def writer(self, key: str, content_type: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file that becomes an object."""
        return self._store.writer(key, content_type)

    def get(self, key: str) -> bytes:
        """Read an object."""
        return self._store.get(key)

    def blocks(self, key: str) -> Iterator[bytes]:
        """Read an object piece by piece."""
        return self._store.blocks(key)

    def url(self, key: str, lifetime: timedelta, content_type: str) -> str | None:
        """Return where anybody can fetch an object for a while."""
        return self._store.url(key, lifetime, content_type)

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._store.delete(key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects whose keys begin with a prefix."""
        return self._store.list(prefix)
