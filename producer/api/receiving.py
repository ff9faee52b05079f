"""Files that clients send, written as they come: in constant memory, however large."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from anyio import CancelScope
from anyio.to_thread import run_sync

from producer.services import Services
from producer.uploads import FileView, FileWriter, add_file, file_key, new_file
from shared.storage.base import BLOCK_BYTES, ObjectStore


async def receive_file(store: ObjectStore, chunks: AsyncIterator[bytes]) -> FileWriter:
    """Write a new file; if its bytes end in an exception, nothing is kept.

    Args:
        store: where to.
        chunks: the bytes.

    Returns:
        What was written, which still needs its row: see `keep_file`.

    Raises:
        ServiceUnavailableError: it was not written.
    """
    opened = new_file(store)
    written = await run_sync(opened.__enter__)
    try:
        await write_blocks(chunks, written)
    except BaseException as error:
        with CancelScope(shield=True):
            await run_sync(opened.__exit__, type(error), error, error.__traceback__)
        raise
    await run_sync(opened.__exit__, None, None, None)
    return written


async def write_blocks(chunks: AsyncIterator[bytes], written: FileWriter) -> None:
    """Write bytes by the MiB, in threads: a disk must not keep other clients waiting."""
    block = bytearray()
    async for chunk in chunks:
        block += chunk
        if len(block) >= BLOCK_BYTES:
            await run_sync(written.write, bytes(block))
            block.clear()
    if block:
        await run_sync(written.write, bytes(block))


async def keep_file(
    services: Services,
    written: FileWriter,
    *,
    tenant: str,
    name: str,
    purpose: str,
    key: str | None = None,
) -> FileView:
    """Give a file that was received its row; the arguments are those of `uploads.add_file`.

    Returns:
        The file, or the one that was uploaded with that key before.

    Raises:
        ConflictError: another content was uploaded with that key.
    """
    add = partial(
        add_file, services.database, written, tenant=tenant, name=name, purpose=purpose, key=key
    )
    kept = None
    try:
        kept = await run_sync(add)
    finally:
        if kept is None or kept.id != written.file_id:
            with CancelScope(shield=True):
                await run_sync(services.store.delete, file_key(written.file_id))
    return kept
