"""Files that were uploaded, or that came of a batch: rows here, bytes in object storage."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Self
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from producer.submit import ConflictError
from shared.clock import utc_now
from shared.db.api_tables import BatchRequest, StoredFile
from shared.db.engine import Database
from shared.domain.identifiers import new_id
from shared.domain.requests import RequestState
from shared.errors import InputError
from shared.storage.base import ObjectStore

FILES = "files/"
"""What the keys of files begin with."""
ANY_BYTES = "application/octet-stream"


def file_key(file_id: UUID) -> str:
    """Name the object that has a file's bytes."""
    return f"{FILES}{file_id}"


@dataclass(frozen=True, slots=True)
class FileView:
    """A file without its bytes."""

    id: UUID
    tenant: str
    name: str
    purpose: str
    bytes: int
    sha256: str
    object_key: str
    created_at: int
    """Seconds since 1970."""

    @classmethod
    def of(cls, file: StoredFile) -> Self:
        """Look at a row."""
        return cls(
            file.id,
            file.tenant,
            file.name,
            file.purpose,
            file.bytes,
            file.sha256,
            file.object_key,
            int(file.created_at.timestamp()),
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "file_id": str(self.id),
            "name": self.name,
            "purpose": self.purpose,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "created_at": self.created_at,
        }


class FileWriter:
    """Takes the bytes of a new file; they are there, whole, when the block of `new_file` ends."""

    def __init__(self, file_id: UUID, file: IO[bytes]) -> None:
        self.file_id = file_id
        self.bytes = 0
        self._file = file
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Append some bytes."""
        self._file.write(data)
        self._hash.update(data)
        self.bytes += len(data)

    @property
    def sha256(self) -> str:
        """Of all bytes so far, in hexadecimal."""
        return self._hash.hexdigest()


@contextmanager
def new_file(store: ObjectStore) -> Iterator[FileWriter]:
    """Open a new file for writing; without its row nobody finds it.

    Raises:
        ServiceUnavailableError: it was not written.
    """
    file_id = new_id()
    with store.writer(file_key(file_id), ANY_BYTES) as file:
        yield FileWriter(file_id, file)


def add_file(
    database: Database,
    written: FileWriter,
    *,
    tenant: str,
    name: str,
    purpose: str,
    key: str | None = None,
) -> FileView:
    """Give a file that was written its row.

    Args:
        database: has the rows.
        written: the file.
        tenant: whose it is.
        name: what its owner calls it.
        purpose: what it is for.
        key: the same key is the same file; None is a file of its own.

    Returns:
        The file, or the one that was uploaded with that key before.

    Raises:
        ConflictError: another content was uploaded with that key.
    """
    with database.write() as session:
        before = find_by_key(session, tenant, key)
        if before is not None:
            if before.sha256 != written.sha256:
                raise ConflictError("this idempotency key was used for another file")
            return FileView.of(before)
        file = StoredFile(
            id=written.file_id,
            tenant=tenant,
            name=name,
            purpose=purpose,
            bytes=written.bytes,
            sha256=written.sha256,
            object_key=file_key(written.file_id),
            key=key,
            created_at=utc_now(),
        )
        session.add(file)
        session.flush()
        return FileView.of(file)


def find_by_key(session: Session, tenant: str, key: str | None) -> StoredFile | None:
    """Return the file that a tenant uploaded with an idempotency key."""
    if key is None:
        return None
    same = select(StoredFile).where(StoredFile.tenant == tenant, StoredFile.key == key)
    return session.scalar(same)


def remove_file(session: Session, file: StoredFile) -> str:
    """Forget a file; returns the key of its object, which is to be deleted after the commit.

    Raises:
        InputError: a batch is still being read from it.
    """
    reading = select(BatchRequest.id).where(
        BatchRequest.input_file_id == file.id, BatchRequest.state == RequestState.VALIDATING
    )
    if session.scalar(reading.limit(1)) is not None:
        raise InputError("a batch is being read from this file", hint="Try again in a while.")
    session.delete(file)
    session.flush()
    return file.object_key
