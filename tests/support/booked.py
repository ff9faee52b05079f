"""Two devices that draw a batch, with all that may happen to its books."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.fleet import mark_stopped
from shared.db.leases import renew_leases
from shared.db.ledger import charge_model_load
from shared.db.lost_leases import release_worker
from shared.db.outcomes import record_done, record_failure
from shared.db.tables import Worker
from support.factories import (
    IMAGE,
    LEASE,
    START,
    TIMES,
    add_batch,
    add_price,
    add_worker,
    dispatch,
)

SECOND = timedelta(seconds=1)
CPU, CUDA, NEW_CUDA = 40_000_001, 1_006_000_003, 2_000_000_011


class Run:
    """Two devices of different kinds, a retry, a crash, idle time, and a price that changes."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = START
        with database.write() as session:
            add_price(session, nanodollars_per_hour=CPU)
            add_price(session, device_kind="cuda", sku="g5", nanodollars_per_hour=CUDA)
            self.cpu = self._worker(session, "cpu", "")
            self.cuda = self._worker(session, "cuda", "g5")
            self.batch_id = add_batch(session, jobs=12).id

    def _worker(self, session: Session, kind: str, sku: str) -> UUID:
        worker = add_worker(session, device_kind=kind, sku=sku, started_at=self.now + 3 * SECOND)
        worker.online_at = self.now
        worker.load_ns = 2_345_678_901
        return worker.id

    def draw(self, worker_id: UUID, jobs: int, *, fails: int = 0, lives: bool = True) -> None:
        """Have a worker take some jobs and finish them; some fail, or it dies on the last."""
        self.now += 5 * SECOND
        with self.database.write() as session:
            chunk_id = dispatch(session, self.batch_id, jobs=jobs, now=self.now)
            leases = claim_chunk(session, chunk_id, worker_id, self.now, LEASE)
            worker = session.get_one(Worker, worker_id)
            charge_model_load(session, worker, self.batch_id, worker.load_ns, self.now)
        for index, held in enumerate(leases if lives else leases[:-1]):
            self.now += SECOND
            with self.database.write() as session:
                if index < fails:
                    record_failure(
                        session,
                        held,
                        code="broken",
                        message="it broke",
                        retry_at=self.now,
                        times=TIMES,
                        now=self.now,
                    )
                else:
                    assert record_done(session, held, IMAGE, TIMES, {}, self.now)
        self.now += SECOND / 3
        with self.database.write() as session:
            if lives:
                renew_leases(session, {worker_id: []}, self.now, LEASE)
            else:
                release_worker(session, worker_id, self.now, 4)

    def stop(self, *worker_ids: UUID) -> None:
        self.now += 7 * SECOND
        for worker_id in worker_ids:
            with self.database.write() as session:
                mark_stopped(session, worker_id, self.now)
