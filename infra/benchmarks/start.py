"""From nothing to the first image on the processor with the small model, and where the time goes.

    PYTHONPATH=infra:tests python infra/benchmarks/start.py --runs 5

``tenstep render`` in a new folder: its database, its Redis and its worker are all to be started.
A worker of a fleet that runs: its database and Redis are there, and a job waits. Beside them one
script that imports torch, diffusers and transformers, loads the same model and draws one image.
All take turns; medians are given. The system's file cache is warm.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.tables import Attempt, Batch, Worker
from shared.domain.jobs import AttemptOutcome
from support.commands import TENSTEP, running, wait_until

PROMPT = "a red apple"
RUNS = 5
PLAIN_SCRIPT = f"""
import time
begin = time.perf_counter()
import torch, transformers
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
imported = time.perf_counter()
from pathlib import Path
from PIL import Image
from shared.domain.prompts import ImageSettings
from shared.models.catalog import load_card
from worker.devices import Device
from worker.loading import load_pipeline
card = load_card("emoji-64", Path("models"))
pipeline = load_pipeline(card, Device.parse("cpu"))
loaded = time.perf_counter()
job = ImageSettings(prompt={PROMPT!r}, seed=0, width=64, height=64, **card.sampler.model_dump())
Image.fromarray(pipeline.draw([job])[0].pixels).save("image.png")
print(imported - begin, loaded - imported, time.perf_counter() - loaded)
"""

Times = Mapping[str, float]
"""Seconds by what they were spent on, in order; "whole" is their sum."""
PROCESSOR = "processor time of all processes"


def render(folder: Path) -> Times:
    """Draw one image with the command line, and read from the books when what happened."""
    environment = environment_for(folder)
    command = [TENSTEP, "render", PROMPT, "--out", str(folder / "out")]
    begin = utc_now()
    subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)
    end = utc_now()
    moments = first_image(folder)
    return spans(
        begin,
        {
            "command, database, Redis, to the batch": moments["submitted"],
            "worker's process, to the device": moments["online"],
            "model and warm-up": moments["ready"],
            "queue": moments["claimed"],
            "image, PNG, store, books": moments["done"],
            "results, manifest, end": end,
        },
    )


def start_worker(folder: Path) -> Times:
    """Start a worker where a job waits for one."""
    environment = environment_for(folder)
    with running(environment, "dispatch", cwd=folder):
        subprocess.run(
            [TENSTEP, "submit", "-"],
            env=environment,
            cwd=folder,
            input=f"{PROMPT}\n",
            text=True,
            check=True,
            capture_output=True,
        )
        time.sleep(1)  # the dispatcher has sent the job
        begin = utc_now()
        with running(environment, "worker", cwd=folder):
            wait_until(lambda: bool(first_image(folder)))
    moments = first_image(folder)
    return spans(
        begin,
        {
            "command and worker's process, to the device": moments["online"],
            "model and warm-up": moments["ready"],
            "queue": moments["claimed"],
            "image, PNG, store, books": moments["done"],
        },
    )


def plain_script(folder: Path) -> Times:
    """Run what one would write for one image."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_SCRIPT],
        env=environment_for(folder),
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    whole = time.perf_counter() - begin
    imports, load, draw = map(float, done.stdout.split())
    return {
        "interpreter and its end": whole - imports - load - draw,
        "imports": imports,
        "model": load,
        "image, PNG, file": draw,
        "whole": whole,
    }


def environment_for(folder: Path) -> dict[str, str]:
    """Return an environment in which nothing is set but the folder."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("TENSTEP_")}
    return {**others, "TENSTEP_DATA_DIR": str(folder / "data")}


def first_image(folder: Path) -> Mapping[str, datetime]:
    """Read when its batch was submitted, its worker started, and it was done; empty before."""
    database = Database(f"sqlite:///{folder / 'data' / 'tenstep.sqlite3'}")
    done = select(Attempt).where(Attempt.outcome == AttemptOutcome.DONE)
    with database.read() as session:
        attempt = session.scalar(done)
        if attempt is None or attempt.finished_at is None:
            return {}
        batch = session.get_one(Batch, attempt.batch_id)
        worker = session.get_one(Worker, attempt.worker_id)
        moments = {
            "submitted": batch.submitted_at or batch.created_at,
            "online": worker.online_at,
            "ready": worker.started_at,
            "claimed": attempt.claimed_at,
            "done": attempt.finished_at,
        }
    database.close()
    return moments


def children_seconds() -> float:
    """Return the processor time of all processes below this one that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def spans(begin: datetime, moments: Mapping[str, datetime]) -> Times:
    """Turn moments into what passed before each."""
    taken, last = {}, begin
    for name, moment in moments.items():
        taken[name] = (moment - last).total_seconds()
        last = moment
    return {**taken, "whole": (last - begin).total_seconds()}


WAYS = {
    "tenstep render, new folder": render,
    "tenstep worker, a job waits": start_worker,
    "one script, no queue": plain_script,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    runs: dict[str, list[Times]] = {name: [] for name in WAYS}
    for _ in range(arguments.runs):
        for name, way in WAYS.items():
            before = children_seconds()
            with tempfile.TemporaryDirectory(prefix="tenstep-start-") as folder:
                times = way(Path(folder))
            runs[name].append({**times, PROCESSOR: children_seconds() - before})
    medians = {name: medians_of(taken) for name, taken in runs.items()}
    if arguments.json:
        print(json.dumps(medians, indent=2))
        return
    for name, times in medians.items():
        wholes = [taken["whole"] for taken in runs[name]]
        table = Table("seconds", "median", title=f"{name}: {min(wholes):.2f} to {max(wholes):.2f}")
        for what, seconds in times.items():
            table.add_row(what, f"{seconds:.2f}")
        Console().print(table)


def medians_of(runs: Sequence[Times]) -> Times:
    """Return the median of each span; their sum need not be the median of the whole."""
    return {what: median(run[what] for run in runs) for what in runs[0]}


if __name__ == "__main__":
    main()
