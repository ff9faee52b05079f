"""What tenstep asks of an object store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Protocol

from shared.errors import InputError, ServiceUnavailableError

BLOCK_BYTES = 2**20
IMAGES = "images/"
"""What the keys of images begin with."""
THUMBNAILS = "thumbnails/"
"""What the keys of their thumbnails begin with."""


class ObjectNotFoundError(ServiceUnavailableError):
    """The store answers, but has no such object."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a store tells of an object without reading it."""

    key: str
    bytes: int
    modified_at: datetime
    """When it was last put, by the store's clock."""


class ObjectStore(Protocol):
    """Bytes by key. Keys are relative, with forward slashes; writes are atomic."""

    @property
    def display_url(self) -> str:
        """Where it is, without secrets."""
        ...

    def check(self) -> None:
        """Write, read and delete a small object.

        Raises:
            ServiceUnavailableError: it cannot be reached or written to.
        """
        ...

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Write an object; writing the same bytes again changes nothing.

        Raises:
            ServiceUnavailableError: it was not written.
        """
        ...

    def writer(self, key: str, content_type: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file that becomes an object, whole, if the block ends well.

        For what is too large to be held in memory.

        Raises:
            ServiceUnavailableError: it was not written.
        """
        ...

    def get(self, key: str) -> bytes:
        """Read an object.

        Raises:
            ObjectNotFoundError: there is none.
            ServiceUnavailableError: it cannot be read.
        """
        ...

    def blocks(self, key: str) -> Iterator[bytes]:
        """Read an object piece by piece, 1 MiB at most each; for what is too large for memory.

        Raises:
            ObjectNotFoundError: there is none; said before the first piece is asked for.
            ServiceUnavailableError: it cannot be read.
        """
        ...

    def url(self, key: str, lifetime: timedelta, content_type: str) -> str | None:
        """Return where anybody can fetch an object for a while, or None if nowhere.

        Args:
            key: of the object; whether there is one is not checked.
            lifetime: for how long.
            content_type: what the store is to call it when it sends it.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects whose keys begin with a prefix, in the order of the keys.

        Stores differ in where they put characters that come before a slash. Listed is also
        what writes that were cut off have left, which no `get` would ask for.

        Raises:
            ServiceUnavailableError: it cannot be read.
        """
        ...


def checked_key(key: str) -> str:
    """Return a key that stays below the store's root on every store.

    Raises:
        InputError: it is empty or absolute, has empty or dotted parts, or cannot be printed.
    """
    if not key.isprintable() or "\\" in key or {"", ".", ".."} & set(key.split("/")):
        raise InputError(f"not an object key: {key!r}")
    return key


def image_key(sha256: str) -> str:
    """Name an image by its content; two leading digits spread keys over partitions."""
    return f"{IMAGES}{sha256[:2]}/{sha256}.png"


def thumbnail_key(image_sha256: str) -> str:
    """Name the thumbnail of an image by the image's content; sorts as the images' keys do."""
    return f"{THUMBNAILS}{image_sha256[:2]}/{image_sha256}.webp"


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
