"""Runs ``tenstep bench speed`` on models small and large, and writes what came of it as a page.

Each run is a process of its own. All of them take half an hour or more on two cores, and 20 GB of
memory.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

TENSTEP = Path(sys.executable).with_name("tenstep")
PAGE = Path(__file__).parents[1] / "benchmarks.md"
RUNS = {
    "emoji-64": "--models emoji-64 --size 64 --chunks 1,8 --rounds 9 --qualities all --profile",
    "sd-1.5": "--models sd-1.5 --size 256 --profile",
    "decidiffusion-2.0": "--models decidiffusion-2.0 --size 256 --profile",
    "512": (
        "--models sd-1.5,decidiffusion-2.0 --size 512 --peers none --rounds 2 "
        "--qualities exact,balanced --profile"
    ),
}
"""By the names of the parts. Beside its peers a model is alone, as in a worker, with all memory."""
TITLES = {
    "emoji-64": "emoji-64 at 64 x 64, one image and eight at once",
    "sd-1.5": "Stable Diffusion 1.5 at 256 x 256",
    "decidiffusion-2.0": "DeciDiffusion 2.0 at 256 x 256",
    "512": "Stable Diffusion 1.5 and DeciDiffusion 2.0 at 512 x 512",
}
HEAD = """# How fast models and peers are

Reports of `tenstep bench speed`, part by part, each with its command; `make bench` writes them all
anew (`python infra/benchmarks/speed.py`). Presets have random weights, which are as fast as real
ones."""


def main() -> None:
    """Run the parts that were asked for, show them, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args()
    asked.page.write_text("\n".join(page(asked.parts)) + "\n", "utf-8")


def page(parts: Sequence[str]) -> Iterator[str]:
    """Measure, and return the page's lines."""
    yield HEAD
    yield ""
    yield f"{platform.system()} {platform.release()}, Python {platform.python_version()}."
    for part in parts:
        yield ""
        _title, *lines = report(RUNS[part])
        yield f"## {TITLES[part]}"
        yield from lower(lines)


def report(options: str) -> list[str]:
    """Run the command, which prints its tables, and return its report's lines."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "report.md"
        subprocess.run(
            [TENSTEP, "bench", "speed", *options.split(), "--report", written], check=True
        )
        return written.read_text("utf-8").splitlines()


def lower(lines: Sequence[str]) -> Iterator[str]:
    """Make each heading one level less, so that a report is a section."""
    yield from (f"#{line}" if line.startswith("#") else line for line in lines)


if __name__ == "__main__":
    main()
