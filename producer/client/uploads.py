"""Files on their way to a server: read as they are sent, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from producer.client.answers import document
from producer.client.steps import LONG_SECONDS, Call, Content, Operation, Send
from producer.wire.files import FileOut
from shared.domain.identifiers import new_id
from shared.errors import InputError

BLOCK_BYTES = 2**18
ANY_BYTES = "application/octet-stream"

OnBytes = Callable[[int], None]
"""Is told how many bytes were read so far."""


def upload(
    source: str | Path | BinaryIO | Iterable[bytes],
    *,
    name: str | None = None,
    idempotency_key: str | None = None,
    on_progress: OnBytes | None = None,
) -> Operation[FileOut]:
    """Upload a file as it is: a packed one stays packed.

    Args:
        source: a path, a file that is open and can be read from its beginning, or blocks of
            bytes, which can be sent once only.
        name: what it is called; its suffix tells how it is written. Default the path's.
        idempotency_key: the same is the same file; default a random one.
        on_progress: is told how many bytes were read so far.

    Raises:
        InputError: it cannot be read, or is larger than the server takes.
        ServiceUnavailableError: the server does not answer.
    """
    body = _body_of(source, on_progress or (lambda _bytes: None))
    headers = {"Content-Type": ANY_BYTES, "Idempotency-Key": idempotency_key or str(new_id())}
    if body.size is not None:  # so that a file that is too large is refused before it is sent
        headers["Content-Length"] = str(body.size)
    call = Call(
        "POST",
        "/api/files",
        {"name": name or _name_of(source)},
        content=body.content,
        headers=headers,
        silence_seconds=LONG_SECONDS,
        is_repeatable=body.is_repeatable,
    )
    return document(FileOut, (yield Send(call)))


def _name_of(source: object) -> str:
    return Path(source).name if isinstance(source, str | Path) else "upload"


class _Body(NamedTuple):
    content: Content
    size: int | None
    is_repeatable: bool


def _body_of(source: str | Path | BinaryIO | Iterable[bytes], tell: OnBytes) -> _Body:
    if isinstance(source, str | Path):
        path = Path(source)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise _unreadable(path, error) from error
        return _Body(lambda: _told(_blocks_of_path(path), tell), size, is_repeatable=True)
    if hasattr(source, "read"):
        file: BinaryIO = source  # type: ignore[assignment]
        size = file.seek(0, os.SEEK_END)
        return _Body(lambda: _told(_blocks_from_begin(file), tell), size, is_repeatable=True)
    blocks = iter(source)
    return _Body(lambda: _told(blocks, tell), None, is_repeatable=False)


def _blocks_of_path(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from _blocks(file)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read: {error.strerror}")


def _blocks_from_begin(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    yield from _blocks(file)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        yield block


def _told(blocks: Iterable[bytes], tell: OnBytes) -> Iterator[bytes]:
    sent = 0
    for block in blocks:
        yield block
        sent += len(block)
        tell(sent)
