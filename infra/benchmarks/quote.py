"""How close ``tenstep quote`` comes to what a batch then costs.

Calibrates, quotes 64 prompts and renders them, and that three times in turn. The quote of a
round goes by all that was measured before it. Nothing is kept.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from shared.domain.money import format_dollars

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "infra" / "examples" / "prompts.txt"
TENSTEP = Path(sys.executable).with_name("tenstep")
PROMPTS = 64
ROUNDS = 3
LIMIT_PER_CENT = 15
ONE_THREAD = {"TENSTEP_CPU_THREADS": "1"}
"""Threads wait for each other when anything else runs, which would measure that and no device."""


class Round(NamedTuple):
    """Nano-dollars and nanoseconds that were quoted, and what came of it."""

    quoted: dict[str, int]
    """The cost: low, expected and high."""
    actual: int
    measured_images: int

    @property
    def difference_per_cent(self) -> float:
        """By how much it was dearer than quoted."""
        return 100 * (self.actual - self.quoted["expected"]) / self.quoted["expected"]

    @property
    def is_within(self) -> bool:
        """Whether it was within the range."""
        return self.quoted["low"] <= self.actual <= self.quoted["high"]


def run(folder: Path, *arguments: str) -> Any:
    """Run a command that has to succeed, and read what it prints."""
    done = subprocess.run(
        [TENSTEP, *arguments, "--json"],
        env={**os.environ, "TENSTEP_DATA_DIR": str(folder / "data"), **ONE_THREAD},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(f"tenstep {arguments[0]} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def rounds(folder: Path) -> Iterator[Round]:
    """Calibrate, quote and render, again and again."""
    prompts = folder / "prompts.txt"
    lines = islice(cycle(EXAMPLES.read_text("utf-8").splitlines()), PROMPTS)
    prompts.write_text("\n".join(lines) + "\n", "utf-8")
    for number in range(ROUNDS):
        run(folder, "calibrate")
        [quoted] = run(folder, "quote", str(prompts))["quotes"]
        drawn = run(folder, "render", str(prompts), "--out", f"out-{number}")
        yield Round(
            quoted["cost_nanodollars"], drawn["cost_nanodollars"], quoted["measured_images"]
        )


def main() -> None:
    """Measure and print."""
    table = Table(
        "measured on",
        "quoted",
        "range",
        "actual",
        "difference",
        "within",
        title=f"quote of {PROMPTS} prompts; limit {LIMIT_PER_CENT} %",
    )
    differences, actual = [], []
    with tempfile.TemporaryDirectory() as folder:
        for one in rounds(Path(folder)):
            low, expected, high = (one.quoted[end] for end in ("low", "expected", "high"))
            differences.append(one.difference_per_cent)
            actual.append(one.actual)
            table.add_row(
                f"{one.measured_images} images",
                format_dollars(expected),
                f"{format_dollars(low)} to {format_dollars(high)}",
                format_dollars(one.actual),
                f"{one.difference_per_cent:+.1f} %",
                "yes" if one.is_within else "no",
            )
    Console().print(table)
    median = statistics.median(abs(difference) for difference in differences)
    worst = max(abs(difference) for difference in differences)
    Console().print(f"median {median:.1f} %, worst {worst:.1f} %; limit {LIMIT_PER_CENT} %")
    # No quote can be closer than the same render is to itself.
    apart = 100 * (max(actual) - min(actual)) / min(actual)
    Console().print(f"the {ROUNDS} renders themselves are up to {apart:.1f} % apart")


if __name__ == "__main__":
    main()
