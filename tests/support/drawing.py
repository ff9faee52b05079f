"""Stands in for a worker: takes jobs and finishes them with small pictures of its own."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from PIL import Image

from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.leases import Lease
from shared.db.ledger import charge_model_load
from shared.db.outcomes import PhaseTimes, StoredImage, record_done, record_failure
from shared.db.tables import Worker
from shared.domain.prompts import SIDE_MULTIPLE
from shared.storage.base import ObjectStore, image_key, sha256_of
from support.factories import LEASE, TIMES, add_worker, dispatch

RECORD = {"model": "tiny", "backend": "torch", "precision": "float32", "tenstep": "0"}


class Drawer:
    """A live worker with one model. ``now`` moves on by a second with every outcome."""

    def __init__(
        self, database: Database, store: ObjectStore, *, now: datetime, model: str = "tiny"
    ) -> None:
        self.now = now
        self._database = database
        self._store = store
        with database.write() as session:
            worker = add_worker(session, started_at=now)
            worker.model = model
            self.worker_id = worker.id

    def claim(self, batch_id: UUID, jobs: int | None = None) -> Sequence[Lease]:
        """Take the first pending jobs of a batch."""
        with self._database.write() as session:
            chunk_id = dispatch(session, batch_id, jobs=jobs, now=self.now)
        with self._database.write() as session:
            return claim_chunk(session, chunk_id, self.worker_id, self.now, LEASE)

    def finish(self, held: Lease, *, times: PhaseTimes = TIMES) -> bytes:
        """Store a picture and call the job done; returns the PNG."""
        data = picture(held.job.seed)
        sha256 = sha256_of(data)
        self._store.put(image_key(sha256), data, "image/png")
        image = StoredImage(image_key(sha256), sha256, len(data))
        self.now += timedelta(seconds=1)
        with self._database.write() as session:
            assert record_done(session, held, image, times, RECORD, self.now)
        return data

    def fail(
        self, held: Lease, *, code: str = "bad_prompt", retry_after: timedelta | None = None
    ) -> None:
        """End the attempt with an error, for good or to be tried again."""
        self.now += timedelta(seconds=1)
        with self._database.write() as session:
            assert record_failure(
                session,
                held,
                code=code,
                message=f"job {held.job.position} cannot be drawn",
                retry_at=None if retry_after is None else self.now + retry_after,
                times=TIMES,
                now=self.now,
            )

    def draw(self, batch_id: UUID, jobs: int | None = None) -> Sequence[bytes]:
        """Take jobs and finish them."""
        return [self.finish(held) for held in self.claim(batch_id, jobs)]

    def load_model(self, batch_id: UUID, device_ns: int) -> None:
        """Book the loading of the model."""
        with self._database.write() as session:
            worker = session.get_one(Worker, self.worker_id)
            charge_model_load(session, worker, batch_id, device_ns, self.now)


def picture(seed: int) -> bytes:
    """Make a PNG that no other seed below 4096 has."""
    colour = (seed % 16 * 16, seed // 16 % 16 * 16, seed // 256 % 16 * 16)
    file = io.BytesIO()
    Image.new("RGB", (SIDE_MULTIPLE, SIDE_MULTIPLE), colour).save(file, "PNG")
    return file.getvalue()
