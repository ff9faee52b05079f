"""Batches of a server by the start of their ids."""

from __future__ import annotations

from uuid import UUID

from producer.client import Client
from shared.errors import InputError

DIGITS = 32


def find(client: Client, reference: str | None) -> UUID:
    """Return the id of a batch, of which the start may be given, or None for the newest.

    A whole id is not looked up: a batch whose file is still being read is in no list.

    Raises:
        InputError: there is none, or the start fits several.
        ServiceUnavailableError: the server does not answer.
    """
    if reference is None:
        newest = next(client.batches(limit=1), None)
        if newest is None:
            raise InputError("there is no batch yet", hint="Submit one: tenstep submit FILE")
        return newest.batch_id
    digits = reference.replace("-", "").lower()
    try:
        last = UUID(digits.ljust(DIGITS, "f"))
    except ValueError:
        raise _no_batch(reference) from None
    if len(digits) == DIGITS:
        return last
    # Ids sort by their digits, and the server lists those before one, the last first.
    found = [
        batch.batch_id
        for batch in client.batches(limit=2, before=last)
        if batch.batch_id.hex.startswith(digits)
    ]
    if not found:
        raise _no_batch(reference)
    if len(found) > 1:
        raise InputError(f"{reference} is the start of several batch ids: give more of it")
    return found[0]


def _no_batch(reference: str) -> InputError:
    return InputError(f"no batch {reference}", hint="tenstep status --all lists the batches.")
