"""A batch whose jobs are all done, for benchmarks: as the books have it after a long run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from shared.db.cost_sums import CostKey, read_costs
from shared.db.cost_tables import LedgerEntry
from shared.db.engine import Database
from shared.db.ledger import Entry, append, charge_model_load
from shared.db.outcomes import StoredImage
from shared.db.prices import price_in_force, price_steps
from shared.db.tables import Attempt, Batch, Job, Worker
from shared.db.tallies import append_tallies, fold_tallies, note_cost, note_new
from shared.domain.identifiers import new_id
from shared.domain.jobs import AttemptOutcome, JobState, LedgerKind
from shared.domain.money import device_cost, nanoseconds, online_cost
from shared.storage.base import image_key

START = datetime(2030, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = 3
WORKERS = 12
DEVICES = (("cpu", ""), ("cuda", "g5.xlarge"))
"""Kinds and SKUs, which the price book has examples of."""
IMAGE_NS = 1_000_000_000
LOAD_NS = 5_000_000_000
ROWS_A_STATEMENT = 5_000
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
    """Write the batch, drawn by a dozen workers in three days, and all that is booked of it.

    Returns:
        Its id.
    """
    batch = Batch(name="benchmark", model="emoji-64", total=jobs, created_at=START)
    with database.write() as session:
        session.add(batch)
        session.flush()
        batch_id = batch.id
        note_new(session, batch_id, JobState.DONE, jobs)
        drawers = _drawers(session, batch_id)
    pause = (DAYS * DAY - timedelta(minutes=1)) / jobs
    for start in range(0, jobs, ROWS_A_STATEMENT):
        positions = range(start, min(start + ROWS_A_STATEMENT, jobs))
        rows = list(_rows(batch_id, drawers, positions, pause, image_of))
        with database.write() as session:
            for index, table in enumerate((Job, Attempt, LedgerEntry)):
                session.execute(insert(table), [row[index] for row in rows])
            for _, _, entry in rows:
                key = CostKey(
                    batch_id, entry["worker_id"], entry["kind"], entry["created_at"].date()
                )
                note_cost(session, key, entry["device_ns"], entry["amount_nanodollars"])
    with database.write() as session:
        for worker_id in (drawer.worker_id for drawer in drawers):
            _book_idle_time(session, worker_id)
    fold(database)
    with database.write() as session:
        session.execute(text("ANALYZE"))  # which Postgres does by itself in a while
    return batch_id


def fold(database: Database) -> None:
    """Do what the dispatcher does now and then, until nothing is left of it."""
    folded = 1
    while folded:
        with database.write() as session:
            folded = fold_tallies(session)


class Drawer(NamedTuple):
    """A worker, and what its time costs."""

    worker_id: UUID
    device_kind: str
    nanodollars_per_hour: int


def _drawers(session: Session, batch_id: UUID) -> list[Drawer]:
    """Add the workers, each of which held its device all the time, and their model loads."""
    drawers = []
    for number in range(WORKERS):
        kind, sku = DEVICES[number % len(DEVICES)]
        end = START + DAYS * DAY
        worker = Worker(
            host=f"host-{number}",
            pid=4242,
            device=f"{kind}:0",
            device_kind=kind,
            device_sku=sku,
            device_name="an accelerator",
            backend="torch",
            model="emoji-64",
            queue=f"{kind}.emoji-64",
            version="0",
            load_ns=LOAD_NS,
            online_at=START,
            started_at=START,
            heartbeat_at=end,
            stopped_at=end,
            settled_until=end,
            settled_at=end,
        )
        session.add(worker)
        session.flush()
        charge_model_load(session, worker, batch_id, LOAD_NS, START)
        drawers.append(Drawer(worker.id, kind, price_in_force(session, kind, sku, START)))
    return drawers


def _book_idle_time(session: Session, worker_id: UUID) -> None:
    """Book what is left of each of a worker's days."""
    append_tallies(session)
    worker = session.get_one(Worker, worker_id)
    steps = price_steps(session, worker.device_kind, worker.device_sku)
    for day in range(DAYS):
        begin = START + day * DAY
        booked = [
            row.booked
            for row in read_costs(
                session, worker_ids=[worker_id], since=begin.date(), until=begin.date()
            )
        ]
        held = online_cost(begin, begin + DAY, steps)
        idle = Entry(
            event_id=f"idle:{worker_id}:{day}",
            kind=LedgerKind.IDLE,
            worker_id=worker_id,
            device_kind=worker.device_kind,
            device_ns=nanoseconds(DAY) - sum(sums.device_ns for sums in booked),
            amount_nanodollars=held - sum(sums.nanodollars for sums in booked),
            priced_at=begin,
            booked_at=begin + DAY - timedelta(microseconds=1),
        )
        append(session, idle)


def _rows(
    batch_id: UUID,
    drawers: Sequence[Drawer],
    positions: range,
    pause: timedelta,
    image_of: Callable[[int], StoredImage],
) -> Iterator[tuple[dict[str, Any], ...]]:
    for position in positions:
        job_id, attempt_id = new_id(), new_id()
        worker_id, device_kind, rate = drawers[position % len(drawers)]
        cost = device_cost(IMAGE_NS, rate)
        image = image_of(position)
        finished_at = START + timedelta(seconds=10) + position * pause
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
            "device_kind": device_kind,
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
            "device_ns": IMAGE_NS,
            "nanodollars_per_hour": rate,
            "cost_nanodollars": cost,
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
            "device_kind": device_kind,
            "device_ns": IMAGE_NS,
            "nanodollars_per_hour": rate,
            "amount_nanodollars": cost,
            "priced_at": finished_at - timedelta(seconds=1),
            "created_at": finished_at,
        }
        yield job, attempt, entry
