"""A destination that belongs to one batch, and says so in ``index/batch.json``."""

from __future__ import annotations

import json
from uuid import UUID

from producer.pull_format import PullFormat
from shared.errors import InputError
from shared.storage.base import ObjectNotFoundError, ObjectStore

INDEX = "index/"
OWNER = f"{INDEX}batch.json"


def take_over(destination: ObjectStore, batch_id: UUID, pull_format: PullFormat) -> None:
    """Write down whose a destination is.

    Raises:
        InputError: it is another batch's, or is filled in another format.
        ServiceUnavailableError: it cannot be read or written.
    """
    ours = {"batch_id": str(batch_id), "format": pull_format.value}
    try:
        found = destination.get(OWNER)
    except ObjectNotFoundError:
        destination.put(OWNER, json.dumps(ours).encode(), "application/json")
        return
    if found != json.dumps(ours).encode():
        raise InputError(
            f"{destination.display_url} holds another batch, or another format: "
            f"{found[:200].decode(errors='replace')}",
            hint="Pull to a place that is empty.",
        )
