"""What comes of a batch's jobs, where nobody has to draw them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from shared.db.claims import claim_chunk
from shared.db.outcomes import record_failure
from shared.domain.jobs import JobState
from support.api import ApiServer
from support.factories import LEASE, TIMES, add_price, add_worker, dispatch, jobs_of

A_MOMENT = 7
"""Images that arrive at one."""


def fail_first(
    api: ApiServer, batch_id: UUID, codes: Sequence[str], *, message: str = "it broke"
) -> None:
    """Have the first jobs of a batch that wait fail for good, each with a code."""
    kind = f"failing-{batch_id.hex}"
    with api.database.write() as session:
        now = api.database.now(session)
        add_price(session, effective_from=now, device_kind=kind)
        worker = add_worker(session, started_at=now, device_kind=kind)
        worker.stopped_at = now
        chunk = dispatch(session, batch_id, jobs=len(codes), now=now)
        leases = claim_chunk(session, chunk, worker.id, now, LEASE)
        for lease, code in zip(leases, codes, strict=True):
            record_failure(
                session, lease, code=code, message=message, retry_at=None, times=TIMES, now=now
            )


def arrive(api: ApiServer, batch_id: UUID, count: int, first_at: datetime) -> Sequence[str]:
    """Have the first jobs that wait be done, several at each moment.

    Returns:
        Their ids, in the order in which they arrive.
    """
    with api.database.write() as session:
        jobs = [job for job in jobs_of(session, batch_id) if job.state == JobState.PENDING]
        for number, job in enumerate(jobs[:count]):
            job.state, job.image_key = JobState.DONE, f"images/ab/{number}.png"
            job.image_sha256 = "ab" * 32
            job.finished_at = first_at + timedelta(seconds=number // A_MOMENT)
        return [str(job.id) for job in jobs[:count]]
