"""A CUDA device under tenstep, and beside it the same networks in a plain loop.

The worker draws a batch of 512 x 512 images of DeciDiffusion 2.0 (a preset: as fast as the
published weights, but its images are noise): calibrated first, then with the next chunk made
ready and the last one stored while one is drawn. The loop does one thing after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import select

from shared.db.engine import Database
from shared.db.tables import Attempt
from shared.domain.jobs import AttemptOutcome
from shared.domain.prompts import ImageSettings
from shared.models.catalog import load_card
from worker.devices import Device
from worker.images.png import encode_png
from worker.loading import load_pipeline

COMMAND = (sys.executable, "-c", "import sys; from producer.cli.main import main; sys.exit(main())")
READY_SECONDS = 90
POLL_SECONDS = 0.5
LOOP_BATCH = 8


def _tenstep(environment: dict[str, str], *arguments: str) -> Any:
    done = subprocess.run(
        [*COMMAND, *arguments, "--json"], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"tenstep {' '.join(arguments)}: {done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1] if "\n{" in done.stdout else done.stdout)


def _wait_until_ready(database: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if database.is_file() and _workers(database):
            return
        time.sleep(POLL_SECONDS)
    raise SystemExit("the worker does not start; its log is in the data folder")


def _workers(path: Path) -> int:
    from shared.db.tables import Worker

    database = Database(f"sqlite:///{path}")
    try:
        with database.read() as session:
            return len(session.scalars(select(Worker.id)).all())
    except Exception:  # noqa: BLE001 - its tables are still being made
        return 0
    finally:
        database.close()


def _drawn(path: Path, batch_id: str) -> list[Attempt]:
    database = Database(f"sqlite:///{path}")
    with database.read() as session:
        found = session.scalars(
            select(Attempt)
            .where(Attempt.outcome == AttemptOutcome.DONE)
            .order_by(Attempt.finished_at)
        ).all()
        session.expunge_all()
    database.close()
    return [attempt for attempt in found if str(attempt.batch_id) == batch_id]


def _under_tenstep(options: argparse.Namespace, folder: Path) -> None:
    environment = {
        **os.environ,
        "TENSTEP_DATA_DIR": str(folder),
        "TENSTEP_MODEL": options.model,
        "TENSTEP_CHUNK_SIZE": "16",
    }
    database, images = folder / "tenstep.sqlite3", options.images
    with (folder / "up.log").open("w", encoding="utf-8") as log:
        fleet = subprocess.Popen(
            [*COMMAND, "up", "--no-serve", "--device", options.device],
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            _wait_until_ready(database)
            calibrated = _tenstep(
                environment, "calibrate", "--chunk-sizes", "1,2,4,8,16", "--images", "32"
            )
            for rate in calibrated["rates"]:
                print(f"best pass {rate['images_per_pass']}; a pass of n images, ms an image:")
                for one in rate["passes"]:
                    print(f"  {json.dumps(one)}")
            prompts = folder / "prompts.txt"
            prompts.write_text("".join(f"apple {one}\n" for one in range(images)), "utf-8")
            batch_id = _tenstep(environment, "submit", str(prompts))["batch_id"]
            while len(drawn := _drawn(database, batch_id)) < images:
                time.sleep(POLL_SECONDS)
        finally:
            fleet.terminate()
            fleet.wait(60)
    # The first chunk's begin is not written down: its claim is the latest that is known.
    begin = min(attempt.claimed_at for attempt in drawn)
    end = max(attempt.finished_at for attempt in drawn if attempt.finished_at)
    seconds = (end - begin).total_seconds()
    device = sum(attempt.device_ns or 0 for attempt in drawn) / 1e9
    print(
        f"tenstep: {images} images in {seconds:.2f} s, {images / seconds:.2f} a second, "
        f"busy share of the device {device / seconds:.4f} from first claim to last booking"
    )


def _in_a_loop(options: argparse.Namespace, folder: Path) -> None:
    card, images = load_card(options.model), options.images
    pipeline = load_pipeline(card, Device.parse(options.device))
    sampler = card.sampler.model_dump()
    record = pipeline.describe()

    def jobs(first: int) -> list[ImageSettings]:
        return [
            ImageSettings(
                prompt=f"apple {seed}", seed=seed, width=card.width, height=card.height, **sampler
            )
            for seed in range(first, first + LOOP_BATCH)
        ]

    pipeline.draw(jobs(0))
    begin = time.perf_counter()
    for first in range(0, images, LOOP_BATCH):
        asked = jobs(first)
        for job, drawing in zip(asked, pipeline.draw(asked), strict=True):
            png = encode_png(drawing.pixels, job, drawing.timesteps, record)
            (folder / f"{job.seed}.png").write_bytes(png)
    seconds = time.perf_counter() - begin
    print(
        f"loop:    {images} images in {seconds:.2f} s, {images / seconds:.2f} a second, "
        f"batches of {LOOP_BATCH}, on {record.device_name}, torch {record.backend_version}"
    )


def main() -> None:
    """Measure both in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="decidiffusion-2.0")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--device", default="cuda:0")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _under_tenstep(options, Path(folder))
        _in_a_loop(options, Path(folder))


if __name__ == "__main__":
    main()
