"""Times ``tenstep render`` of the example prompts, from start to stop, and its memory.

Prints the median of some runs, each in a fresh data folder; nothing is kept.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
PROMPTS = ROOT / "infra" / "examples" / "prompts.txt"
TENSTEP = Path(sys.executable).with_name("tenstep")
RUNS = 5
SAMPLE_SECONDS = 0.1


def run_once(folder: Path) -> tuple[float, int]:
    """Return wall seconds, and the peak bytes of a worker: Celery's parent and child together."""
    environment = {**os.environ, "TENSTEP_DATA_DIR": str(folder / "data")}
    begin = time.perf_counter()
    process = subprocess.Popen(
        [TENSTEP, "render", str(PROMPTS), "--out", str(folder / "out")],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, worker_bytes(process.pid))
        time.sleep(SAMPLE_SECONDS)
    if process.returncode != 0:
        raise SystemExit(f"tenstep render ended with {process.returncode}")
    return time.perf_counter() - begin, peak


def worker_bytes(pid: int) -> int:
    """Sum the resident memory of the Python processes below a render."""
    total = 0
    try:
        for child in psutil.Process(pid).children(recursive=True):
            if "python" in child.name():
                total += child.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def main() -> None:
    """Measure and print."""
    runs = []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(run_once(Path(folder)))
    images = len(PROMPTS.read_text("utf-8").splitlines())
    seconds = [wall for wall, _ in runs]
    table = Table("figure", "median", "least", "most", title=f"render of {images} prompts")
    table.add_row(
        "wall time, start to stop",
        *(f"{pick(seconds):.1f} s" for pick in (statistics.median, min, max)),
    )
    memory = [peak / 1e6 for _, peak in runs]
    table.add_row(
        "worker's peak memory",
        *(f"{pick(memory):.0f} MB" for pick in (statistics.median, min, max)),
    )
    Console().print(table)


if __name__ == "__main__":
    main()
