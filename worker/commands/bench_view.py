"""What ``tenstep bench`` shows: progress on stderr, the comparison on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from shared.domain.money import NANOSECONDS, format_dollars
from worker.bench.comparison import PUBLISHED, PUBLISHED_DEVICE, Gains, compare

if TYPE_CHECKING:
    from rich.table import Table

    from worker.bench.price import HourlyPrice
    from worker.bench.rounds import Measured, Watch

RANDOM_WEIGHTS = (
    "Weights of {models} are random. Speed and cost do not depend on weights, the quality of "
    "images does: these are noise, and whether fewer steps are as good was not measured."
)


@dataclass(frozen=True, slots=True)
class CostReport:
    """Two models on one device, at one size and one price."""

    side: int
    """Width and height of every image, in pixels."""
    device_kind: str
    price: HourlyPrice
    baseline: Measured
    candidate: Measured

    @property
    def gains(self) -> Gains:
        """What the candidate gains over the baseline."""
        rate = self.price.nanodollars_per_hour
        return compare(self.baseline.times, self.candidate.times, rate)

    @property
    def note(self) -> str | None:
        """What random weights mean for the figures, where there are any."""
        cards = [measured.card for measured in (self.baseline, self.candidate)]
        names = dict.fromkeys(card.name for card in cards if card.weights == "random")
        return RANDOM_WEIGHTS.format(models=" and ".join(names)) if names else None

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        drawn_by = self.baseline.drawn_by
        return {
            "width": self.side,
            "height": self.side,
            "rounds": len(self.baseline.times.rounds),
            **drawn_by.model_dump(
                include={
                    "backend",
                    "backend_version",
                    "precision",
                    "threads",
                    "device",
                    "device_name",
                }
            ),
            "price": {"device_kind": self.device_kind, **self.price._asdict()},
            "baseline": self._model_json(self.baseline),
            "candidate": self._model_json(self.candidate),
            "measured": asdict(self.gains),
            "published": {**asdict(PUBLISHED), "device_name": PUBLISHED_DEVICE},
            "note": self.note,
        }

    def _model_json(self, measured: Measured) -> dict[str, Any]:
        card, times = measured.card, measured.times
        return {
            "model": card.name,
            "title": card.title,
            "licence": card.licence,
            "note": card.note,
            "weights": card.weights,
            "weights_sha256": measured.drawn_by.weights_sha256,
            "sampler": card.sampler.model_dump(mode="json"),
            "steps": times.steps,
            "iteration_ns": times.iteration_ns,
            "text_encode_ns": times.text_encode_ns,
            "denoise_ns": times.denoise_ns,
            "decode_ns": times.decode_ns,
            "device_ns": times.device_ns,
            "cost_nanodollars": times.cost_nanodollars(self.price.nanodollars_per_hour),
            "rounds": [
                {
                    "text_encode_ns": one.text_encode_ns,
                    "denoise_ns": one.denoise_ns,
                    "decode_ns": one.decode_ns,
                    "device_ns": one.device_ns,
                }
                for one in times.rounds
            ],
        }


def print_report(report: CostReport) -> None:
    """Write a comparison that reads at 80 columns."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for line in (*_conditions(report), ""):
        console.print(line)
    for table in (_models_table(report), _gains_table(report.gains)):
        console.print(table, "")
    if report.note:
        console.print(report.note)
    for card in dict.fromkeys((report.baseline.card, report.candidate.card)):
        if card.note:
            console.print(f"{card.name}: {card.note}")


def _conditions(report: CostReport) -> Iterator[str]:
    """Say what was the same for both models."""
    drawn_by, price = report.baseline.drawn_by, report.price
    rounds = len(report.baseline.times.rounds)
    counted = "one round" if rounds == 1 else f"medians of {rounds} rounds in turn"
    yield f"one image of {report.side} x {report.side} pixels; {counted}"
    yield f"{drawn_by.device}: {drawn_by.device_name}"
    threads = f", {drawn_by.threads} threads" if drawn_by.threads else ""
    yield f"{drawn_by.backend} {drawn_by.backend_version}, {drawn_by.precision}{threads}"
    hourly = format_dollars(price.nanodollars_per_hour, decimals=4)
    yield f"{hourly} an hour of {report.device_kind}, from {price.source}"


def _models_table(report: CostReport) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    both = (report.baseline, report.candidate)
    for measured in both:
        table.add_column(measured.card.name, justify="right", overflow="fold")
    rate = report.price.nanodollars_per_hour
    rows: dict[str, list[str]] = {
        "weights": [each.card.weights for each in both],
        "scheduler": [each.card.sampler.scheduler.value for each in both],
        "squeeze": [each.card.sampler.squeeze or "none" for each in both],
        "steps": [str(each.times.steps) for each in both],
        "an iteration": [_seconds(each.times.iteration_ns) for each in both],
        "text encoder": [_seconds(each.times.text_encode_ns) for each in both],
        "denoiser, all steps": [_seconds(each.times.denoise_ns) for each in both],
        "decoder": [_seconds(each.times.decode_ns) for each in both],
        "an image": [_seconds(each.times.device_ns) for each in both],
        "fastest to slowest": [
            " to ".join(map(_seconds, dict.fromkeys(each.times.device_range_ns))) for each in both
        ],
        "cost of an image": [
            format_dollars(each.times.cost_nanodollars(rate), decimals=9) for each in both
        ],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _gains_table(gains: Gains) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("measured here", justify="right")
    table.add_column(f"published, {PUBLISHED_DEVICE}", justify="right")
    here, there = _formatted(gains, ".2f"), _formatted(PUBLISHED, "g")
    names = ("speed-up an iteration", "speed-up end to end", "cost saved an image")
    for row in zip(names, here, there, strict=True):
        table.add_row(*row)
    return table


def _formatted(gains: Gains, how: str) -> tuple[str, str, str]:
    saved = gains.cost_saved_percent
    return (
        f"{gains.speedup_per_iteration:{how}}x",
        f"{gains.speedup_end_to_end:{how}}x",
        "-" if saved is None else f"{round(saved)} %",
    )


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / NANOSECONDS:,.3f} s"


@contextmanager
def progress_view(steps: int, *, quiet: bool) -> Iterator[Watch]:
    """Show what is being done and how far it is; hands out the function to tell.

    On a terminal it is a bar, elsewhere a line whenever something begins.

    Args:
        steps: how many there will be.
        quiet: show nothing, for ``--json``.
    """
    if quiet:
        yield lambda _what, _taken: None
    elif sys.stderr.isatty():
        with _bar(steps) as watch:
            yield watch
    else:
        yield lambda what, taken: _tell(f"{what} ({taken} of {steps} steps done)")


@contextmanager
def _bar(steps: int) -> Iterator[Watch]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=steps)

        def watch(what: str, taken: int) -> None:
            progress.update(task, description=what, completed=taken)

        yield watch


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
