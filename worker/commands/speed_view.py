"""What ``tenstep bench speed`` prints: conditions, a table a model and chunk size, ratios."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from shared.domain.money import NANOSECONDS
from shared.domain.quality import Quality

if TYPE_CHECKING:
    from rich.table import Table

    from worker.bench.speed.profile import Part, Profile
    from worker.bench.speed.report import Comparison, Report, Row

HEADS = ("", "text", "step", "decode", "image", "GFLOPS", "peak", "step x", "image x")
RATIOS = (
    "step x, image x: what tenstep's first backend gains over the row, measured in turn with it."
)
COUNTED = (
    "GFLOPS: of the denoiser a second, counted as the direct algorithm computes; peak: their share "
    "of the matrix-multiply peak. Winograd's convolutions take fewer, and so can be above 100 %."
)
RECKONED = (
    "An image is the text, of each kind of step the first, the second as often as others follow, "
    "and decoding; --whole takes all steps."
)
PROFILE_HEADS = ("", "time", "share", "GFLOP/s", "peak")
PROFILED = (
    "In the profile GFLOP/s are of what is really multiplied. Its rest is Python, threads that "
    "wake, and what the profiler itself takes."
)
MULTIPLYING = "all that multiplies"
WHOLE = "Every step of each image was taken."
MILLION = 1_000_000
LONG_SECONDS, LONG_MS = 100, 100
"""From where on times are shown whole."""


def print_speed(report: Report) -> None:
    """Write a report that reads at 80 columns."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for line in (*conditions(report), ""):
        console.print(line)
    for title, rows in by_model(report):
        console.print(title)
        console.print(_table(HEADS, map(cells, rows)), "")
    for title, lines in profiles(report):
        console.print(title)
        console.print(_table(PROFILE_HEADS, lines), "")
    for line in (*ratios(report), *notes(report)):
        console.print(line)


def conditions(report: Report) -> Iterator[str]:
    """Say what was the same for all."""
    machine, plan = report.machine, report.plan
    counted = "one round" if plan.rounds == 1 else f"medians of {plan.rounds} rounds in turn"
    yield f"images of {plan.side} x {plan.side} pixels, float32; {counted}"
    memory = f"{machine.memory_bytes / 2**30:.0f} GiB"
    yield f"{machine.processor}, {machine.cores} cores, {memory}; {machine.threads} threads each"
    middle, least, most = report.peak
    yield f"matrix-multiply peak {middle:.0f} GFLOP/s ({least:.0f} to {most:.0f})"


def by_model(report: Report) -> Iterator[tuple[str, list[Row]]]:
    """Part the rows as they are shown, each part with its title."""
    for (card, chunk), rows in groupby(
        report.rows, key=lambda row: (row.entry.card, row.entry.chunk)
    ):
        of_one = "" if chunk == 1 else ", times of one"
        yield f"{card.name}, {card.sampler.evaluations} steps, {at_once(chunk)}{of_one}", list(rows)


def at_once(chunk: int) -> str:
    """Say how many images are drawn at once."""
    return "one image at a time" if chunk == 1 else f"{chunk} images at once"


def cells(row: Row) -> tuple[str, ...]:
    """Return a row under `HEADS`."""
    times, gains = row.times, row.over_ours
    return (
        row.entry.title,
        seconds(times.text_encode_ns),
        seconds(times.iteration_ns),
        seconds(times.decode_ns),
        seconds(times.device_ns),
        "" if row.share_of_peak is None else f"{row.gflops['denoiser']:.0f}",
        "" if row.share_of_peak is None else f"{row.share_of_peak:.0%}",
        f"{gains.speedup_per_iteration:.2f}x" if gains else "",
        f"{gains.speedup_end_to_end:.2f}x" if gains else "",
    )


def profiles(report: Report) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Return each profile's title, and its lines under `PROFILE_HEADS`."""
    peak, _, _ = report.peak
    for entry, profile in report.outcome.profiles.items():
        taken = f"{seconds(profile.wall_ns)} under the profiler"
        parts = [(str(part.kind), part) for part in profile.parts]
        yield (
            f"a step of {entry.card.name}, {at_once(entry.chunk)}: {taken}",
            [
                _profile_line(name, part, profile, peak)
                for name, part in (*parts, (MULTIPLYING, profile.multiplying))
            ],
        )


def _profile_line(name: str, part: Part, profile: Profile, peak: float) -> tuple[str, ...]:
    speed = part.gflops
    return (
        name,
        seconds(part.ns),
        f"{part.ns / profile.wall_ns:.0%}",
        "" if speed is None else f"{speed:.0f}",
        "" if speed is None else f"{speed / peak:.0%}",
    )


def ratios(report: Report) -> Iterator[str]:
    """Say what models gain over the first."""
    for one in report.comparisons:
        yield ratio_line(one)


def ratio_line(one: Comparison) -> str:
    """Say what the second model gains over the first."""
    gains, chunk = one.gains, "" if one.chunk == 1 else f", {one.chunk} at once"
    quality = "" if one.quality is Quality.EXACT else f" at {one.quality}"
    return (
        f"{one.second}{quality} over {one.first} on {one.backend}{chunk}: "
        f"{gains.speedup_per_iteration:.2f}x a step, {gains.speedup_end_to_end:.2f}x an image"
    )


def notes(report: Report) -> Iterator[str]:
    """Say how to read the tables, and who is missing from them."""
    yield RATIOS
    yield COUNTED
    yield WHOLE if report.plan.whole else RECKONED
    if report.outcome.profiles:
        yield PROFILED
    for row in report.rows:
        least, most = row.times.device_range_ns
        yield (
            f"{row.entry.card.name}, {row.entry.title}: {row.settings}; an image took "
            f"{seconds(least)} to {seconds(most)}"
        )
    for entry, reason in report.outcome.absent.items():
        yield f"{entry.card.name}, {entry.title}: {reason}"


def seconds(nanoseconds: int) -> str:
    """Write a time in seconds or milliseconds, three digits or more."""
    if nanoseconds >= NANOSECONDS:
        taken = nanoseconds / NANOSECONDS
        return f"{taken:.{0 if taken >= LONG_SECONDS else 2}f} s"
    taken = nanoseconds / MILLION
    return f"{taken:.{0 if taken >= LONG_MS else 1}f} ms"


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for index, head in enumerate(heads):
        table.add_column(head, justify="right" if index else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table
