"""The dispatcher's own code in front of more devices than this machine can imitate.

    PYTHONPATH=infra:tests python infra/benchmarks/dispatcher.py --devices 200 1000 10000

Postgres and Redis are real, the dispatcher is the real one, and so are its messages. The fleet is
not: rows of workers that live, and a few statements a step that claim and end as many chunks as
such a fleet would in that time, with the tallies that the dispatcher adds up, but without attempts,
lines of the books or images. Time is the simulation's: a step is the dispatcher's interval, however
long it took here. So the table tells how much of one dispatcher's time a fleet takes, and where it
cannot keep devices busy any more: above 100 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import NamedTuple
from uuid import UUID

from pydantic import SecretStr
from redis import Redis
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from benchmarks.status import fill
from producer.dispatch.dispatcher import Dispatcher
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.model_tables import WorkerModel
from shared.db.tables import Tally, Worker
from shared.domain.identifiers import new_id
from shared.messaging.broker import Broker
from shared.settings import Settings
from support.postgres import run_postgres
from support.valkey import run_valkey

QUEUE = "cpu.tiny"
IMAGE_SECONDS = 0.94
"""On a Cloud AI 100, as published."""

HELD_CHUNKS = 2
"""A worker's: one is in its device, the next is claimed."""
COST_NANODOLLARS = 1_000_000

CLAIM_CHUNKS = text("""
WITH chunks AS (
  SELECT chunk_id FROM job WHERE queue = :queue AND state = 'pending' AND chunk_id IS NOT NULL
  GROUP BY chunk_id ORDER BY min(dispatched_at) LIMIT :chunks
), claimed AS (
  UPDATE job SET state = 'leased', lease_expires_at = :lease, fencing_token = 1, attempts = 1
  FROM chunks WHERE job.chunk_id = chunks.chunk_id RETURNING job.chunk_id
)
SELECT chunk_id, count(*) FROM claimed GROUP BY chunk_id
""")
END_CHUNKS = text("""
WITH chunks AS (
  SELECT chunk_id FROM job WHERE state = 'leased' AND queue = :queue
  GROUP BY chunk_id ORDER BY min(dispatched_at) LIMIT :chunks
), ended AS (
  UPDATE job SET state = 'done', finished_at = :now, lease_expires_at = NULL
  FROM chunks WHERE job.chunk_id = chunks.chunk_id RETURNING job.chunk_id
)
SELECT chunk_id, count(*) FROM ended GROUP BY chunk_id
""")
RENEW_LEASES = text("""
UPDATE job SET lease_expires_at = :lease WHERE state = 'leased' AND lease_expires_at < :before
""")
BEAT = text("""
UPDATE worker SET heartbeat_at = :now, polled_at = :now WHERE heartbeat_at < :before
""")
COUNT_HELD = text("SELECT count(DISTINCT chunk_id) FROM job WHERE state = 'leased'")


class Taken(NamedTuple):
    """What a fleet of one size took, a step."""

    devices: int
    first_seconds: float
    """To give each device its first chunks."""
    step_seconds: float
    """Of the wall's time, of the dispatcher's tick."""
    processor_seconds: float
    """Of that, in its process."""
    idle_share: float
    """Of the devices that found no chunk at the end of a step."""


def measure(devices: int, chunk: int, steps: int, interval: float) -> Taken:
    """Have the dispatcher feed a fleet."""
    chunk_seconds = chunk * IMAGE_SECONDS
    with (
        tempfile.TemporaryDirectory(prefix="tenstep-dispatcher-") as folder,
        run_postgres() as postgres,
        run_valkey() as valkey,
    ):
        url = postgres.url(postgres.create_database())
        database = Database(url)
        migrate(database)
        settings = Settings(
            data_dir=Path(folder),
            database_url=SecretStr(url),
            redis_url=SecretStr(valkey.url),
            chunk_size=chunk,
        )
        ended = devices * steps * interval / chunk_seconds
        ahead = settings.look_ahead + HELD_CHUNKS + 1
        batch_id = fill(database, chunk * round(ahead * devices + ended))
        broker = Broker(settings)
        dispatcher = Dispatcher(database, broker, settings)
        redis = Redis.from_url(valkey.url)
        fleet = Fleet(database, redis, settings, batch_id, devices, interval / chunk_seconds)
        begin = time.perf_counter()
        dispatcher.tick(fleet.now)
        first = time.perf_counter() - begin
        fleet.claim(HELD_CHUNKS * devices)
        dispatcher.tick(fleet.now)
        wall, processor, idle = [], [], []
        for _ in track(range(steps), f"{devices} devices", transient=True):
            idle.append(fleet.step(interval))
            begin, used = time.perf_counter(), time.process_time()
            dispatcher.tick(fleet.now)
            wall.append(time.perf_counter() - begin)
            processor.append(time.process_time() - used)
        dispatcher.stop()
        broker.close()
        database.close()
    return Taken(devices, first, median(wall), median(processor), median(idle))


class Fleet:
    """Workers that are rows, and what becomes of the chunks that are sent to them."""

    def __init__(
        self,
        database: Database,
        redis: Redis,
        settings: Settings,
        batch_id: UUID,
        devices: int,
        chunks_a_step: float,
    ) -> None:
        """Have them live.

        Args:
            database: theirs.
            redis: where their messages go.
            settings: their leases and heartbeats.
            batch_id: what they draw.
            devices: how many.
            chunks_a_step: that one device ends.
        """
        self._database = database
        self._redis = redis
        self._queue = f"{settings.redis_key_prefix}{QUEUE}"
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._heartbeat = timedelta(seconds=settings.heartbeat_seconds)
        self._batch_id = batch_id
        self._devices = devices
        self._chunks_a_step = devices * chunks_a_step
        self._due = 0.0
        with database.write() as session:
            self.now = database.now(session)
            rows = [_worker(number, self.now) for number in range(devices)]
            session.execute(insert(Worker), rows)
            session.execute(insert(WorkerModel), [_model(row["id"]) for row in rows])
        self._workers = cycle(row["id"] for row in rows)

    def step(self, seconds: float) -> float:
        """Claim and end chunks; returns the share of the devices that have none then."""
        self.now += timedelta(seconds=seconds)
        self._due += self._chunks_a_step
        chunks = int(self._due)
        self._due -= chunks
        self._end(chunks)
        self.claim(chunks)
        with self._database.write() as session:
            beat = self.now - self._heartbeat
            lease = self.now + self._lease
            session.execute(RENEW_LEASES, {"lease": lease, "before": beat + self._lease})
            session.execute(BEAT, {"now": self.now, "before": beat})
            held: int = session.execute(COUNT_HELD).scalar_one()
        return max(0.0, 1 - held / self._devices)

    def claim(self, chunks: int) -> None:
        """Have workers take chunks out of their queue."""
        self._redis.rpop(self._queue, chunks)
        with self._database.write() as session:
            asked = {"queue": QUEUE, "chunks": chunks, "lease": self.now + self._lease}
            claimed = session.execute(CLAIM_CHUNKS, asked).all()
            self._append(session, [{"pending": -jobs, "leased": jobs} for _, jobs in claimed])

    def _end(self, chunks: int) -> None:
        with self._database.write() as session:
            asked = {"queue": QUEUE, "chunks": chunks, "now": self.now}
            ended = session.execute(END_CHUNKS, asked).all()
            self._append(session, [self._booked(jobs) for _, jobs in ended])

    def _booked(self, jobs: int) -> dict[str, object]:
        cost = {"least_nanodollars": COST_NANODOLLARS, "most_nanodollars": COST_NANODOLLARS}
        return {
            "leased": -jobs,
            "done": jobs,
            "image_bytes": jobs * 400_000,
            "kind": "image",
            "day": self.now.date(),
            "entries": jobs,
            **cost,
            "nanodollars": jobs * COST_NANODOLLARS,
            "device_ns": round(jobs * IMAGE_SECONDS * 1e9),
        }

    def _append(self, session: Session, tallies: Sequence[Mapping[str, object]]) -> None:
        for tally in tallies:
            worker_id = next(self._workers) if "kind" in tally else None
            row = {"id": new_id(), "batch_id": self._batch_id, "worker_id": worker_id}
            session.add(Tally(**row, **tally))


def _worker(number: int, now: datetime) -> dict[str, object]:
    return {
        "id": new_id(),
        "host": f"host-{number // 8}",
        "pid": 4242,
        "device": f"cpu:{number % 8}",
        "device_kind": "cpu",
        "device_name": "a device",
        "backend": "none: a row",
        "model": "tiny",
        "queue": QUEUE,
        "version": "0",
        "load_ns": 0,
        "online_at": now,
        "started_at": now,
        "heartbeat_at": now,
    }


def _model(worker_id: object) -> dict[str, object]:
    return {"worker_id": worker_id, "model": "tiny", "queue": QUEUE}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--devices", type=int, nargs="+", default=[200, 1_000, 10_000])
    parser.add_argument("--chunk", type=int, default=8, help="images")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds, the dispatcher's")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    taken = [measure(one, asked.chunk, asked.steps, asked.interval) for one in asked.devices]
    if asked.json:
        sys.stdout.write(json.dumps([one._asdict() for one in taken]) + "\n")
        return
    Console().print(_table(taken, asked.chunk, asked.interval))


def _table(taken: Sequence[Taken], chunk: int, interval: float) -> Table:
    title = f"Chunks of {chunk}, {IMAGE_SECONDS} s an image, a look every {interval} s"
    table = Table(
        "devices",
        "images/s",
        "first chunks",
        "a look",
        "of its time",
        "processor",
        "idle",
        title=title,
    )
    for one in taken:
        table.add_row(
            f"{one.devices:,}",
            f"{one.devices / IMAGE_SECONDS:,.0f}",
            f"{one.first_seconds:.1f} s",
            f"{one.step_seconds * 1e3:,.0f} ms",
            f"{one.step_seconds / interval:.0%}",
            f"{one.processor_seconds * 1e3:,.0f} ms",
            f"{one.idle_share:.0%}",
        )
    return table


if __name__ == "__main__":
    main()
