"""What came of an attempt: an image, or an error."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Table, bindparam, update
from sqlalchemy.orm import Session

from shared.db.attempt_costs import charge, charge_loaded
from shared.db.leases import UNDISPATCHED, Lease, move_leased_job
from shared.db.ledger import Alongside
from shared.db.setbacks import note_setback
from shared.db.tables import Attempt
from shared.db.tallies import note_image
from shared.domain.jobs import AttemptOutcome, JobState, LedgerKind

MAX_ERROR_CHARACTERS = 2_000
THUMBNAIL = "thumbnail"
"""What the record of an attempt calls whether a thumbnail was to be stored with the image."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that is in the store already."""

    key: str
    sha256: str
    bytes: int
    fingerprint: str | None = None
    """Hash of all that decided it."""
    thumbnail_bytes: int = 0
    """Of its thumbnail, where one was stored with it."""


@dataclass(frozen=True, slots=True)
class PhaseTimes:
    """Whole nanoseconds that one image took; device phases are its share of its batch's.

    To encode and to upload an image takes in its thumbnail, where there is one.
    """

    text_encode_ns: int = 0
    denoise_ns: int = 0
    decode_ns: int = 0
    safety_check_ns: int = 0
    png_encode_ns: int = 0
    upload_ns: int = 0

    @property
    def device_ns(self) -> int:
        """Time on the device."""
        return self.text_encode_ns + self.denoise_ns + self.decode_ns + self.safety_check_ns


PHASES = {field.name.removesuffix("_ns"): field.name for field in fields(PhaseTimes)}
"""Names of phases, and of their fields."""
MEASURED = (*(field.name for field in fields(PhaseTimes)), "device_ns")
ATTEMPTS = cast("Table", Attempt.__table__)
END_IN_AN_IMAGE = (
    update(ATTEMPTS)
    .where(ATTEMPTS.c.id == bindparam("of_attempt"))
    .values(
        {"outcome": AttemptOutcome.DONE.value}
        | {
            name: bindparam(name)
            for name in ("finished_at", "record", "cost_nanodollars", *MEASURED)
        }
    )
)
"""Made once, for it runs for every image."""
ATTEMPT_KEYS = {"of_attempt": "id"}
"""The columns that its parameters are compared with."""


def record_done(
    session: Session,
    held: Lease,
    image: StoredImage,
    times: PhaseTimes,
    record: dict[str, Any],
    now: datetime,
) -> bool:
    """Make a stored image the job's image and book its device time.

    Returns:
        False when the lease had ended: the job is untouched, the time is booked as waste.
    """
    if not move_leased_job(session, held, JobState.DONE, **image_values(image, now)):
        late = _attempt_to_end(session, held, times, now)
        late.record = record
        charge_loaded(session, late, LedgerKind.FAILED_ATTEMPT, times.device_ns, now)
        return False
    # Whoever holds the lease ends the attempt, so that nothing of it has to be looked up.
    note_image(session, held.job.batch_id, image.bytes + image.thumbnail_bytes)
    along = Alongside(END_IN_AN_IMAGE, end_values(held, times, record, now))
    charge(session, held.attempt, LedgerKind.RENDER, times.device_ns, now, along)
    return True


def record_failure(
    session: Session,
    held: Lease,
    *,
    code: str,
    message: str,
    retry_at: datetime | None,
    times: PhaseTimes,
    now: datetime,
) -> bool:
    """End an attempt with an error; the job is retried from ``retry_at``, or has failed.

    Returns:
        False when the lease had ended: the job is untouched.
    """
    message = message[:MAX_ERROR_CHARACTERS]
    if retry_at is None:
        is_ours = move_leased_job(
            session,
            held,
            JobState.FAILED,
            error_code=code,
            error_message=message,
            finished_at=now,
        )
    else:
        is_ours = move_leased_job(
            session, held, JobState.PENDING, not_before=retry_at, **UNDISPATCHED
        )
    attempt = _attempt_to_end(session, held, times, now)
    if is_ours:
        attempt.outcome = AttemptOutcome.FAILED
        attempt.error_code = code
        attempt.error_message = message
        note_setback(session, attempt.worker_id, code, is_retried=retry_at is not None)
    charge_loaded(session, attempt, LedgerKind.FAILED_ATTEMPT, times.device_ns, now)
    return is_ours


def _attempt_to_end(session: Session, held: Lease, times: PhaseTimes, now: datetime) -> Attempt:
    attempt = session.get_one(Attempt, held.attempt.id, with_for_update=True)
    if attempt.outcome == AttemptOutcome.RUNNING:
        attempt.finished_at = now
    if attempt.outcome != AttemptOutcome.DONE:
        for field in fields(PhaseTimes):
            setattr(attempt, field.name, getattr(times, field.name))
    return attempt


def image_values(image: StoredImage, now: datetime) -> dict[str, object]:
    """Return what a job knows of its image."""
    return {
        "image_key": image.key,
        "image_sha256": image.sha256,
        "image_bytes": image.bytes,
        "fingerprint": image.fingerprint,
        "error_code": None,
        "error_message": None,
        "finished_at": now,
    }


def end_values(
    held: Lease, times: PhaseTimes, record: dict[str, Any], now: datetime
) -> dict[str, object]:
    """Return the parameters of `END_IN_AN_IMAGE`."""
    return {
        "of_attempt": held.attempt.id,
        "finished_at": now,
        "record": record,
        "cost_nanodollars": held.attempt.cost(times.device_ns),
        **{name: getattr(times, name) for name in MEASURED},
    }
