"""``tenstep cancel``, ``pause``, ``resume``: what becomes of a batch."""

from __future__ import annotations

from producer.cli import options
from producer.cli.console import print_json, say
from shared.domain.jobs import BatchControl


def cancel(batch: options.BatchToChange, *, as_json: options.Json = False) -> None:
    """Call off what is not drawn yet, for good. Images that are drawn stay."""
    from producer.cli.database import opened
    from shared.clock import utc_now
    from shared.db.batches import cancel_batch, find_batch
    from shared.settings import load_settings

    with opened(load_settings()) as database, database.write() as session:
        found = find_batch(session, batch)
        count = cancel_batch(session, found, utc_now())
        batch_id = found.id
    if as_json:
        print_json({"batch_id": str(batch_id), "control": "cancelled", "cancelled": count})
    else:
        say(f"batch {batch_id}: cancelled, {count:,} images of it not drawn")


def pause(batch: options.BatchToChange, *, as_json: options.Json = False) -> None:
    """Hand out no more of a batch; what a worker has begun it finishes."""
    _control(batch, BatchControl.PAUSED, "paused", as_json=as_json)


def resume(batch: options.BatchToChange, *, as_json: options.Json = False) -> None:
    """Go on with a paused batch."""
    _control(batch, BatchControl.ACTIVE, "goes on", as_json=as_json)


def _control(reference: str, control: BatchControl, said: str, *, as_json: bool) -> None:
    from producer.cli.database import opened
    from shared.db.batches import find_batch, set_control
    from shared.settings import load_settings

    with opened(load_settings()) as database, database.write() as session:
        found = find_batch(session, reference)
        set_control(session, found, control)
        batch_id = found.id
    if as_json:
        print_json({"batch_id": str(batch_id), "control": control.value})
    else:
        say(f"batch {batch_id}: {said}")
