"""The bytes of a prompt file, wherever they come from."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from producer.prompt_format import OBJECT_SCHEME, Compression, compression_of_name
from shared.errors import InputError
from shared.settings import Settings

STDIN = "stdin"
SPOOL_BYTES = 8 * 2**20
BLOCK_BYTES = 64 * 2**10
"""Some thousand lines: more are no faster, and take more memory."""
HASHED_BYTES = 2**20
MAX_UNPACKED_BYTES = 64 * 2**30
"""Of a file that cannot be read while it is unpacked."""
UNSUSPICIOUS_BYTES = 2**30
MAX_UNPACKED_TIMES = 200
"""What prompts say again and again packs to a fiftieth; nothing but a bomb to a thousandth."""
MAGIC = {b"\x1f\x8b": Compression.GZIP, b"\x28\xb5\x2f\xfd": Compression.ZSTD}


@dataclass(frozen=True, slots=True)
class Content:
    """A file that can be read from its beginning again and again, by one reader at a time."""

    name: str
    """What the user calls it."""
    file: BinaryIO
    size: int
    """Bytes, as it lies there."""
    compression: Compression | None

    def blocks(self) -> Iterator[bytes]:
        """Read it from the beginning, unpacked, in blocks of 64 KiB.

        Raises:
            InputError: it cannot be read, or is broken.
        """
        with readable(self.name, self.compression):
            self.file.seek(0)
            stream = self.file if self.compression is None else _unpacked(self)
            unpacked = 0
            while block := stream.read(BLOCK_BYTES):
                unpacked += len(block)
                if unpacked > max(UNSUSPICIOUS_BYTES, MAX_UNPACKED_TIMES * self.size):
                    raise InputError(
                        f"{self.name}: unpacks to more than {MAX_UNPACKED_TIMES} times its size"
                    )
                yield block

    def share_read(self) -> float:
        """Return how much of it has been read, from 0 to 1."""
        return min(self.file.tell() / self.size, 1.0) if self.size else 1.0

    def sha256(self, salt: str) -> str:
        """Hash a text and the bytes as they lie there; whoever reads them is not disturbed.

        Raises:
            InputError: it cannot be read.
        """
        with readable(self.name):
            position = self.file.tell()
            self.file.seek(0)
            digest = hashlib.sha256(salt.encode())
            while block := self.file.read(HASHED_BYTES):
                digest.update(block)
            self.file.seek(position)
        return digest.hexdigest()


def _unpacked(content: Content) -> BinaryIO:
    import pyarrow as pa

    stream: BinaryIO = pa.CompressedInputStream(_Lent(content.file), str(content.compression))
    return stream


class _Lent:
    """A file that Arrow reads, and cannot close."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read

    def close(self) -> None:
        """Leave it open."""


@contextmanager
def opened_content(source: str, settings: Settings | None) -> Iterator[Content]:
    """Open a path, ``-`` for standard input, or a URL of object storage.

    Args:
        source: which of them.
        settings: where the object storage is; None for without.

    Raises:
        InputError: it is missing, a folder, unreadable, or not packed as its name says.
        ServiceUnavailableError: the object storage does not answer.
    """
    name = STDIN if source == "-" else source
    with _opened(source, settings) as opened, _seekable(opened, name) as file:
        yield content_of(file, name)


def content_of(file: BinaryIO, name: str) -> Content:
    """Look at a file that is open, and can be read again and again.

    Raises:
        InputError: it is unreadable, or not packed as its name says.
    """
    with readable(name):
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        compression = _compression_of(file, name, size)
    return Content(name, file, size, compression)


@contextmanager
def unpacked_content(content: Content) -> Iterator[Content]:
    """Unpack a file onto the disk, for a format that is not read from beginning to end.

    Raises:
        InputError: it is broken, or more than 64 GiB.
    """
    if content.compression is None:
        yield content
        return
    with tempfile.TemporaryFile() as file:
        with readable(content.name):
            for block in content.blocks():
                file.write(block)
                if file.tell() > MAX_UNPACKED_BYTES:
                    raise InputError(f"{content.name}: is over {MAX_UNPACKED_BYTES:,} bytes")
            size = file.tell()
        yield Content(content.name, file, size, None)


@contextmanager
def readable(name: str, compression: Compression | None = None) -> Iterator[None]:
    """Turn errors of reading into errors of the user's input."""
    try:
        yield
    except OSError as error:
        # What Arrow cannot unpack is an OSError without a number.
        if compression is not None and error.errno is None:
            raise InputError(
                f"{name}: is broken {compression}, or cut short",
                hint="Pack it or fetch it again.",
            ) from error
        raise InputError(f"{name}: cannot be read: {error.strerror or error}") from error


@contextmanager
def _opened(source: str, settings: Settings | None) -> Iterator[BinaryIO]:
    if source == "-":
        yield sys.stdin.buffer
    elif source.startswith(OBJECT_SCHEME):
        with _fetched(source, settings) as file:
            yield file
    else:
        with _opened_path(source) as file:
            yield file


@contextmanager
def _opened_path(path: str) -> Iterator[BinaryIO]:
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed below; its errors are others'
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, not a prompt file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from None
    with file:
        yield file


@contextmanager
def _fetched(url: str, settings: Settings | None) -> Iterator[BinaryIO]:
    from producer.prompt_objects import fetch_object

    if settings is None:
        raise InputError(f"{url}: object storage cannot be read from here")
    with tempfile.TemporaryFile() as spool:
        with readable(url):
            fetch_object(url, settings, spool)
        yield spool


@contextmanager
def _seekable(file: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """Copy a pipe to disk first: a slow writer must not hold the database's write lock."""
    if file.seekable():
        yield file
        return
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        with readable(name):
            shutil.copyfileobj(file, spool)
        yield spool  # type: ignore[misc]  # typeshed: no BinaryIO, though it has all of one


def _compression_of(file: IO[bytes], name: str, size: int) -> Compression | None:
    begin = file.read(max(map(len, MAGIC)))
    file.seek(0)
    found = next((packed for magic, packed in MAGIC.items() if begin.startswith(magic)), None)
    named = compression_of_name(name)
    if named not in {None, found} and size:
        raise InputError(f"{name}: is not packed with {named}")
    return found
