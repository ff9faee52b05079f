"""A batch whose jobs are all done, for benchmarks: as the books have it after a long run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert, text

from shared.db.cost_tables import LedgerEntry
from shared.db.engine import Database
from shared.db.outcomes import StoredImage
from shared.db.tables import Attempt, Batch, Job
from shared.db.tallies import note_new
from shared.domain.identifiers import new_id
from shared.domain.jobs import AttemptOutcome, JobState, LedgerKind
from shared.storage.base import image_key

START = datetime(2030, 1, 2, tzinfo=UTC)
ROWS_A_STATEMENT = 5_000
COST = 21_250
RECORD = {
    "backend": "torch",
    "backend_version": "2.13.0",
    "precision": "float16",
    "threads": None,
    "device": "cuda:0",
    "device_name": "an accelerator",
    "model": "emoji-64",
    "weights_sha256": "ab" * 32,
    "licence": "Apache-2.0",
    "note": None,
    "timesteps": [999, 899, 799, 699, 599, 499, 399, 299, 199, 99],
    "prompt_lost": "",
    "negative_prompt_lost": "",
    "safety_checker": None,
    "tenstep": "0.1.0",
}


def imagined(position: int) -> StoredImage:
    """Name an image that is nowhere."""
    sha256 = f"{position:064x}"
    return StoredImage(image_key(sha256), sha256, 400_000)


def fill(database: Database, jobs: int, image_of: Callable[[int], StoredImage] = imagined) -> UUID:
    """Write the batch, its attempts and its entries in the books; returns its id."""
    batch = Batch(name="benchmark", model="emoji-64", total=jobs, created_at=START)
    with database.write() as session:
        session.add(batch)
        session.flush()
        batch_id = batch.id
        note_new(session, batch_id, JobState.DONE, jobs)
    for start in range(0, jobs, ROWS_A_STATEMENT):
        rows = list(_rows(batch_id, range(start, min(start + ROWS_A_STATEMENT, jobs)), image_of))
        with database.write() as session:
            for index, table in enumerate((Job, Attempt, LedgerEntry)):
                session.execute(insert(table), [row[index] for row in rows])
    with database.write() as session:
        session.execute(text("ANALYZE"))  # which Postgres does by itself in a while
    return batch_id


def _rows(
    batch_id: UUID, positions: range, image_of: Callable[[int], StoredImage]
) -> Iterator[tuple[dict[str, Any], ...]]:
    for position in positions:
        job_id, attempt_id, worker_id = new_id(), new_id(), new_id()
        image = image_of(position)
        finished_at = START + timedelta(milliseconds=position)
        job = {
            "id": job_id,
            "batch_id": batch_id,
            "position": position,
            "custom_id": f"item-{position}",
            "source_line": position + 1,
            "prompt": f"a painting of animal {position} in a meadow at dawn, soft light, detailed",
            "negative_prompt": "blurred, low quality",
            "seed": position,
            "width": 512,
            "height": 512,
            "steps": 16,
            "scheduler": "dpmsolver++",
            "squeeze": "10,6",
            "guidance_scale": 7.5,
            "guidance_rescale": 0.8,
            "details": {"campaign": "spring", "number": position},
            "state": JobState.DONE,
            "attempts": 1,
            "image_key": image.key,
            "image_sha256": image.sha256,
            "image_bytes": image.bytes,
            "finished_at": finished_at,
        }
        attempt = {
            "id": attempt_id,
            "job_id": job_id,
            "batch_id": batch_id,
            "number": 1,
            "fencing_token": 1,
            "worker_id": worker_id,
            "device_kind": "cuda",
            "device_name": "an accelerator",
            "outcome": AttemptOutcome.DONE,
            "claimed_at": finished_at - timedelta(seconds=1),
            "finished_at": finished_at,
            "queue_wait_ns": 1_234_567,
            "text_encode_ns": 10_000_000,
            "denoise_ns": 900_000_000,
            "decode_ns": 90_000_000,
            "safety_check_ns": 0,
            "png_encode_ns": 5_000_000,
            "upload_ns": 7_000_000,
            "device_ns": 1_000_000_000,
            "nanodollars_per_hour": 76_500_000,
            "cost_nanodollars": COST,
            "record": RECORD,
        }
        entry = {
            "id": new_id(),
            "event_id": f"attempt:{attempt_id}",
            "kind": LedgerKind.RENDER,
            "batch_id": batch_id,
            "job_id": job_id,
            "attempt_id": attempt_id,
            "worker_id": worker_id,
            "device_kind": "cuda",
            "device_ns": 1_000_000_000,
            "nanodollars_per_hour": 76_500_000,
            "amount_nanodollars": COST,
            "priced_at": finished_at - timedelta(seconds=1),
            "created_at": finished_at,
        }
        yield job, attempt, entry
