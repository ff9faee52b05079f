"""Many images into the books at once: a few statements, whatever their number."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from shared.db.attempt_costs import render_entry
from shared.db.leases import LEASE_KEYS, Lease, lease_left, lock_in_order, move_out_of_lease
from shared.db.ledger import append_all
from shared.db.many_rows import update_each
from shared.db.outcomes import (
    ATTEMPT_KEYS,
    END_IN_AN_IMAGE,
    PhaseTimes,
    StoredImage,
    end_values,
    image_values,
)
from shared.db.tallies import note_image, note_move
from shared.domain.jobs import JobState


class DoneJob(NamedTuple):
    """A job whose image is in the store."""

    held: Lease
    image: StoredImage
    times: PhaseTimes
    record: dict[str, Any]
    """What drew it."""


class NotAllHeldError(Exception):
    """A lease had ended, or an image is booked already: nothing may be committed."""


def record_all_done(session: Session, done: Sequence[DoneJob], now: datetime) -> None:
    """Make stored images their jobs' images and book their device time, if all leases hold.

    Args:
        session: its transaction is rolled back by the error.
        done: no job twice.
        now: when this is.

    Raises:
        NotAllHeldError: a lease had ended; see `shared.db.outcomes.record_done` for each alone.
    """
    connection = session.connection()
    lock_in_order(connection, [one.held for one in done])
    moves = [lease_left(one.held, JobState.DONE, image_values(one.image, now)) for one in done]
    if update_each(connection, move_out_of_lease(moves[0]), moves, LEASE_KEYS) != len(done):
        raise NotAllHeldError
    ends = [end_values(one.held, one.times, one.record, now) for one in done]
    update_each(connection, END_IN_AN_IMAGE, ends, ATTEMPT_KEYS)
    entries = [render_entry(one.held.attempt, one.times.device_ns, now) for one in done]
    if not append_all(session, entries):
        raise NotAllHeldError
    for one in done:
        batch_id = one.held.job.batch_id
        note_move(session, batch_id, JobState.LEASED, JobState.DONE)
        note_image(session, batch_id, one.image.bytes + one.image.thumbnail_bytes)
