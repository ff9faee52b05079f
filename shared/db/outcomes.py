"""What came of an attempt: an image, or an error."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Table, bindparam, update
from sqlalchemy.orm import Session

from shared.db.leases import UNDISPATCHED, Lease, move_leased_job
from shared.db.ledger import charge_attempt
from shared.db.tables import Attempt
from shared.domain.jobs import AttemptOutcome, JobState, LedgerKind

MAX_ERROR_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that is in the store already."""

    key: str
    sha256: str
    bytes: int
    fingerprint: str | None = None
    """Hash of all that decided it."""


@dataclass(frozen=True, slots=True)
class PhaseTimes:
    """Whole nanoseconds that one image took; device phases are its share of its batch's."""

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


MEASURED = (*(field.name for field in fields(PhaseTimes)), "device_ns")
ATTEMPTS = cast("Table", Attempt.__table__)
END_IN_AN_IMAGE = (
    update(ATTEMPTS)
    .where(ATTEMPTS.c.id == bindparam("of_attempt"))
    .values(
        {"outcome": AttemptOutcome.DONE.value}
        | {
            name: bindparam(name)
            for name in (
                "finished_at",
                "record",
                "nanodollars_per_hour",
                "cost_nanodollars",
                *MEASURED,
            )
        }
    )
)
"""Made once, for it runs for every image."""


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
    is_ours = move_leased_job(
        session,
        held,
        JobState.DONE,
        image_key=image.key,
        image_sha256=image.sha256,
        image_bytes=image.bytes,
        fingerprint=image.fingerprint,
        error_code=None,
        error_message=None,
        finished_at=now,
    )
    if not is_ours:
        late = _measured_attempt(session, held, times, now)
        late.record = record
        charge_attempt(session, late, LedgerKind.FAILED_ATTEMPT, now)
        return False
    # Whoever holds the lease ends the attempt, so that nothing of it has to be looked up.
    attempt = Attempt(
        id=held.attempt_id,
        job_id=held.job.id,
        batch_id=held.job.batch_id,
        worker_id=held.worker_id,
        device_kind=held.device_kind,
        device_ns=times.device_ns,
    )
    charge_attempt(session, attempt, LedgerKind.RENDER, now)
    session.connection().execute(
        END_IN_AN_IMAGE,
        {
            "of_attempt": held.attempt_id,
            "finished_at": now,
            "record": record,
            "nanodollars_per_hour": attempt.nanodollars_per_hour,
            "cost_nanodollars": attempt.cost_nanodollars,
            **_measured(times),
        },
    )
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
    attempt = _measured_attempt(session, held, times, now)
    if is_ours:
        attempt.outcome = AttemptOutcome.FAILED
        attempt.error_code = code
        attempt.error_message = message
    charge_attempt(session, attempt, LedgerKind.FAILED_ATTEMPT, now)
    return is_ours


def _measured_attempt(session: Session, held: Lease, times: PhaseTimes, now: datetime) -> Attempt:
    attempt = session.get_one(Attempt, held.attempt_id)
    if attempt.outcome == AttemptOutcome.RUNNING:
        attempt.finished_at = now
    if attempt.cost_nanodollars is None:
        for name, value in _measured(times).items():
            setattr(attempt, name, value)
    return attempt


def _measured(times: PhaseTimes) -> dict[str, int]:
    return {name: getattr(times, name) for name in MEASURED}
