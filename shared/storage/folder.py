"""A local folder as object store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from shared.errors import ServiceUnavailableError
from shared.files import atomic_file
from shared.storage.base import BLOCK_BYTES, ObjectNotFoundError, StoredObject, checked_key


class FolderStore:
    """Objects are files below a folder; a write appears whole or not at all."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        """Name a folder, which need not be there yet.

        Args:
            folder: where.
            durable: have each object on the disk before it gets its name. What can be had
                again at any time does not need that, and is written much faster without.
        """
        self.folder = folder.absolute()
        self._durable = durable

    @property
    def display_url(self) -> str:
        """The folder as a URL."""
        return self.folder.as_uri()

    def check(self) -> None:
        """Write and delete a small file."""
        self.put(".tenstep-check", b"", "application/octet-stream")
        self.delete(".tenstep-check")

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Write beside the target, sync, then rename over it."""
        with self.writer(key, content_type) as file:
            file.write(data)

    @contextmanager
    def writer(self, key: str, content_type: str) -> Iterator[IO[bytes]]:
        """Open a file beside the target, which is synced and renamed at the end."""
        target = self._path(key)
        with self._translated("write", key):
            if not target.parent.is_dir():
                target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(target, durable=self._durable) as file:
                yield file

    def get(self, key: str) -> bytes:
        """Read a file."""
        with self._translated("read", key):
            return self._path(key).read_bytes()

    def blocks(self, key: str) -> Iterator[bytes]:
        """Open a file now, and read it as it is asked for."""
        with self._translated("read", key):
            file = self._path(key).open("rb")
        return self._blocks_of(file, key)

    def _blocks_of(self, file: IO[bytes], key: str) -> Iterator[bytes]:
        with file, self._translated("read", key):
            while block := file.read(BLOCK_BYTES):
                yield block

    def url(self, key: str, lifetime: timedelta, content_type: str) -> None:
        """Return None: a folder is on nobody's network."""

    def delete(self, key: str) -> None:
        """Remove a file."""
        with self._translated("delete", key):
            self._path(key).unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Walk through the folder, and no further into it than the prefix asks."""
        with self._translated("list", prefix):
            yield from self._walk("", prefix)

    def _walk(self, folder: str, prefix: str) -> Iterator[StoredObject]:
        try:
            with os.scandir(self.folder / folder) as found:
                entries = {
                    folder + entry.name + ("/" if entry.is_dir() else ""): entry for entry in found
                }
        except FileNotFoundError:  # nothing was put yet, or somebody has just removed it
            return
        for key in sorted(entries):
            if key.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(key, prefix)
            elif key.startswith(prefix):
                try:
                    status = entries[key].stat()
                except FileNotFoundError:
                    continue
                modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
                yield StoredObject(key, status.st_size, modified_at)

    def _path(self, key: str) -> Path:
        return self.folder / checked_key(key)

    @contextmanager
    def _translated(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectNotFoundError(f"no object {key} in {self.display_url}") from error
        except OSError as error:
            raise ServiceUnavailableError(
                f"cannot {verb} {key} in {self.display_url}: {error.strerror}"
            ) from error
