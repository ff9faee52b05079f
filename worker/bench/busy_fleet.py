"""The run of tenstep: a fleet of simulated devices in a folder of its own, as a user has it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import func, select

from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.tables import Attempt, Worker
from shared.domain.jobs import AttemptOutcome
from shared.domain.money import NANOSECONDS_PER_MICROSECOND
from shared.errors import TenstepError
from shared.settings import Settings, child_environment
from worker.bench.background import Background, running, wait_for
from worker.bench.busy import Busy, BusyPlan, DrawnImage, spans_of

TENSTEP = Path(sys.executable).with_name("tenstep")
START_PATIENCE_SECONDS = 120.0
SUBMIT_SECONDS = 120
PATIENCE_IMAGES = 100
"""A device that has drawn nothing for the time of so many images, and a minute, has stopped."""
MICROSECOND = 1e-6


def scratch_settings(settings: Settings, plan: BusyPlan, folder: Path) -> Settings:
    """Return settings of a fleet that touches nothing of the user's: all of it is in a folder."""
    return settings.model_copy(
        update={
            "data_dir": folder,
            "models_dir": settings.resolved_models_dir.absolute(),
            **dict.fromkeys(("database_url", "storage_url", "redis_url", "server", "api_key")),
            "device": "simulated",
            "simulated_image_seconds": plan.image_seconds,
            "simulated_store_seconds": plan.store_seconds,
        }
    )


@contextmanager
def started_fleet(settings: Settings, devices: int) -> Iterator[tuple[Background, float]]:
    """Run ``tenstep up`` with one worker a device; hands it out with the seconds that it took."""
    command = [str(TENSTEP), "up", "--no-serve", "--workers", str(devices)]
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with closing(_migrated(settings)) as database:
        begin = time.monotonic()
        up = Background(command, settings.data_dir / "up.log", child_environment(settings))
        with running([up]):
            wait_for(
                [up],
                lambda: _count(database, Worker),
                devices,
                patience_seconds=START_PATIENCE_SECONDS,
            )
            yield up, time.monotonic() - begin


def draw_with_tenstep(
    settings: Settings,
    plan: BusyPlan,
    up: Background,
    start_seconds: float,
    tell: Callable[[int], None],
) -> Busy:
    """Submit the images, wait for them, and read from the books when they were drawn.

    Raises:
        TenstepError: the fleet stopped drawing.
    """
    prompts = settings.data_dir / "prompts.jsonl"
    prompts.write_text(
        "".join(f"{json.dumps({'prompt': f'image {i}'})}\n" for i in range(plan.images))
    )
    submitted = subprocess.run(
        [TENSTEP, "submit", prompts],
        env=child_environment(settings),
        capture_output=True,
        text=True,
        timeout=SUBMIT_SECONDS,
    )
    if submitted.returncode:
        raise TenstepError(f"tenstep submit failed: {submitted.stderr.strip()}")
    with closing(Database(settings.resolved_database_url)) as database:
        wait_for(
            [up],
            lambda: _count_done(database),
            plan.images,
            patience_seconds=patience_seconds(plan),
            tell=tell,
        )
        return Busy(spans_of(_drawn(database)), start_seconds)


def patience_seconds(plan: BusyPlan) -> float:
    """Return after how long without an image there will be none."""
    return 60 + PATIENCE_IMAGES * (plan.image_seconds + plan.store_seconds)


def _migrated(settings: Settings) -> Database:
    database = Database(settings.resolved_database_url)
    migrate(database)
    return database


def _count(database: Database, table: type[Worker]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def _count_done(database: Database) -> int:
    done = select(func.count()).where(Attempt.outcome == AttemptOutcome.DONE)
    with database.read() as session:
        return session.scalar(done) or 0


def _drawn(database: Database) -> Iterator[DrawnImage]:
    """Read the attempts: a device began after the claim, and was done before the encoding."""
    done = select(Attempt).where(Attempt.outcome == AttemptOutcome.DONE)
    with database.read() as session:
        for attempt in session.scalars(done):
            if attempt.finished_at is None or attempt.device_ns is None:
                continue
            beside_ns = (attempt.png_encode_ns or 0) + (attempt.upload_ns or 0)
            yield DrawnImage(
                device=str(attempt.worker_id),
                begin_ns=_nanoseconds(attempt.claimed_at.timestamp()),
                end_ns=_nanoseconds(attempt.finished_at.timestamp()) - beside_ns,
                device_ns=attempt.device_ns,
            )


def _nanoseconds(timestamp: float) -> int:
    return round(timestamp / MICROSECOND) * NANOSECONDS_PER_MICROSECOND
