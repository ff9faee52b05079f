"""The list of the lines that were left out of a batch, where every server can read it."""

from __future__ import annotations

from uuid import UUID

from producer.rejects import Rejects
from shared.storage.base import BLOCK_BYTES, ObjectStore

JSON_LINES = "application/x-ndjson"


def rejects_key(batch_id: UUID) -> str:
    """Name the object."""
    return f"rejects/{batch_id}.jsonl"


def keep_rejects(store: ObjectStore, batch_id: UUID, rejects: Rejects) -> None:
    """Put the list into object storage, if there is one.

    Raises:
        ServiceUnavailableError: it was not written.
    """
    if rejects.path is None or not rejects.path.exists():
        return
    with rejects.path.open("rb") as file, store.writer(rejects_key(batch_id), JSON_LINES) as kept:
        while block := file.read(BLOCK_BYTES):
            kept.write(block)
