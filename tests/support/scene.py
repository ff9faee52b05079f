"""A batch of three jobs and a worker, and what may happen between them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

from shared.db.batches import cancel_batch, set_control
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.leases import Lease
from shared.db.lost_leases import expire_leases
from shared.db.outcomes import PhaseTimes, record_done, record_failure
from shared.db.tables import Batch
from shared.domain.jobs import BatchControl
from support.factories import (
    IMAGE,
    LEASE,
    START,
    TIMES,
    add_batch,
    add_price,
    add_worker,
    attempts_of,
    dispatch,
    jobs_of,
    ledger_of,
)

MAX_ATTEMPTS = 3
SECOND = timedelta(seconds=1)
AFTER_LEASE = START + LEASE + SECOND


@dataclass
class Scene:
    """A batch of three jobs in one chunk, and one worker."""

    database: Database
    batch_id: UUID
    chunk_id: UUID
    worker_id: UUID

    @classmethod
    def made(cls, database: Database) -> Self:
        with database.write() as session:
            add_price(session)
            worker_id = add_worker(session).id
            batch_id = add_batch(session, jobs=3).id
            chunk_id = dispatch(session, batch_id)
        return cls(database, batch_id, chunk_id, worker_id)

    def claim(
        self,
        chunk_id: UUID | None = None,
        worker_id: UUID | None = None,
        *,
        now: datetime = START,
    ) -> list[Lease]:
        with self.database.write() as session:
            return claim_chunk(
                session, chunk_id or self.chunk_id, worker_id or self.worker_id, now, LEASE
            )

    def finish(
        self, lease: Lease, times: PhaseTimes = TIMES, *, now: datetime = START + SECOND
    ) -> bool:
        with self.database.write() as session:
            return record_done(session, lease, IMAGE, times, {"model": "tiny"}, now)

    def fail(
        self,
        lease: Lease,
        *,
        again: bool,
        times: PhaseTimes = TIMES,
        now: datetime = START + SECOND,
    ) -> bool:
        with self.database.write() as session:
            return record_failure(
                session,
                lease,
                code="broken",
                message="it broke",
                retry_at=now + SECOND if again else None,
                times=times,
                now=now,
            )

    def expire(self) -> int:
        with self.database.write() as session:
            return expire_leases(session, AFTER_LEASE, MAX_ATTEMPTS)

    def cancel(self) -> int:
        with self.database.write() as session:
            return cancel_batch(session, session.get_one(Batch, self.batch_id), START)

    def control(self, control: BatchControl) -> None:
        with self.database.write() as session:
            set_control(session, session.get_one(Batch, self.batch_id), control)

    def dispatch(self, jobs: int | None = None) -> UUID:
        with self.database.write() as session:
            return dispatch(session, self.batch_id, jobs=jobs)

    def states(self) -> list[str]:
        with self.database.read() as session:
            return [job.state for job in jobs_of(session, self.batch_id)]

    def attempts_counted(self) -> list[int]:
        with self.database.read() as session:
            return [job.attempts for job in jobs_of(session, self.batch_id)]

    def outcomes(self) -> Counter[str]:
        with self.database.read() as session:
            return Counter(attempt.outcome for attempt in attempts_of(session, self.batch_id))

    def kinds_booked(self) -> Counter[str]:
        with self.database.read() as session:
            return Counter(entry.kind for entry in ledger_of(session, self.batch_id))

    def assert_books_agree(self) -> None:
        with self.database.read() as session:
            costs = {a.id: a.cost_nanodollars for a in attempts_of(session, self.batch_id)}
            booked: Counter[UUID | None] = Counter()
            for entry in ledger_of(session, self.batch_id):
                booked[entry.attempt_id] += entry.amount_nanodollars
        assert booked == {attempt: cost for attempt, cost in costs.items() if cost is not None}
