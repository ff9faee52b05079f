"""What the terminal shows: results on stdout, progress and complaints on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from shared.domain.jobs import JobState
from shared.domain.money import format_dollars

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console, RenderableType

    from producer.batch_status import BatchStatus, BatchSummary
    from producer.rejects import Rejects

PLAIN_LINE_SECONDS = 5.0
FRAMES_A_SECOND = 8
BRIEF_DECIMALS = 6

Update = Callable[["BatchStatus"], None]


def print_json(value: object) -> None:
    """Write a result for programs."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_json_line(value: object) -> None:
    """Write one of several results for programs."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def say(sentence: str) -> None:
    """Write a result for people."""
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def shown(path: Path) -> str:
    """Write a path from here if it lies below, else whole."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def warn_of_cut_prompts(images: int) -> None:
    """Tell of prompts that were too long for the model; the manifest has what was lost."""
    if images:
        what = "1 image has a prompt" if images == 1 else f"{images:,} images have a prompt"
        complain(f"cut: {what} too long for the model; see prompt_lost in the manifest")


def complain(sentence: str) -> None:
    """Write what is no result: a warning, a reject, progress."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


@contextmanager
def progress_view(*, quiet: bool = False) -> Iterator[Update]:
    """Show how a batch goes on; hands out the function to call with every new status.

    On a terminal it is a bar that stays when the block ends; elsewhere a line every five
    seconds at most, and one when the batch is finished. It never writes to stdout.

    Args:
        quiet: show nothing, for ``--json``.
    """
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _live_view() as update:
            yield update
    else:
        yield _PlainView()


@contextmanager
def _live_view() -> Iterator[Update]:
    from rich.live import Live

    with Live(console=_console(to_stderr=True), refresh_per_second=FRAMES_A_SECOND) as live:
        yield lambda status: live.update(_progress_panel(status))


class _PlainView:
    """For logs and pipes."""

    def __init__(self) -> None:
        self._next = 0.0
        self._last = ""

    def __call__(self, status: BatchStatus) -> None:
        line = f"{status.summary.name}: {_counted(status)}, {progress_line(status)}"
        is_due = status.is_finished or time.monotonic() >= self._next
        if is_due and line != self._last:
            self._last = line
            self._next = time.monotonic() + PLAIN_LINE_SECONDS
            complain(line)


def _progress_panel(status: BatchStatus) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    summary = status.summary
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(max_width=24, no_wrap=True, overflow="ellipsis")
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True)
    bar.add_row(
        Text(summary.name),
        ProgressBar(total=summary.total, completed=status.ended),
        Text(_counted(status)),
    )
    return Group(bar, Text(progress_line(status), style="dim"))


def _counted(status: BatchStatus) -> str:
    """Say ``12 of 24 done``, and what came to another end."""
    counts = status.summary.counts
    others = [
        f"{counts[state]:,} {state.value}"
        for state in (JobState.FAILED, JobState.CANCELLED, JobState.HELD)
        if counts[state]
    ]
    return ", ".join([f"{status.done:,} of {status.summary.total:,} done", *others])


def progress_line(status: BatchStatus) -> str:
    """Say rate, time left, cost, who is at work, and why nothing happens if nothing does."""
    parts = [_figures(status)]
    if at_work := sum(status.devices.values()):
        parts.append("1 device at work" if at_work == 1 else f"{at_work:,} devices at work")
    if status.why_idle:
        parts.append(status.why_idle)
    return ", ".join(parts)


def _figures(status: BatchStatus) -> str:
    parts = []
    if status.images_per_second is not None:
        parts.append(f"{status.images_per_second:.3g} images/s")
    if status.eta_seconds is not None:
        soonest, latest = status.eta_seconds
        parts.append(f"{_span(soonest)} to {_span(latest)} left")
    parts.append(f"{format_dollars(status.cost_nanodollars, decimals=BRIEF_DECIMALS)} so far")
    return ", ".join(parts)


def _span(seconds: float) -> str:
    if seconds < 100:  # noqa: PLR2004 - two digits read at a glance
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"  # noqa: PLR2004


def print_status(status: BatchStatus) -> None:
    """Write all that is known of a batch."""
    summary = status.summary
    say(f"batch {summary.id}: {summary.state}")
    facts = {
        "name": summary.name,
        "model": summary.model,
        "jobs": _nonzero(summary.counts, summary.total, is_all=summary.is_submitted),
        "workers": f"{status.workers_alive} ready with this model",
        "at work": ", ".join(f"{count} x {name}" for name, count in status.devices.items()),
        "progress": _figures(status),
        "removed": _removed(summary.details_dropped_at),
    }
    for name, value in facts.items():
        if value:
            say(f"  {name:<9} {value}")
    for group in status.failures:
        example = f"for example job {group.example_position}: {group.example_message}"
        say(f"  failed    {group.count:,} x {group.code}; {example}")
    for reason in status.refused:
        say(f"  refused   {reason}")
    if status.why_idle:
        say(f"  idle      {status.why_idle}")


def _removed(at: datetime | None) -> str:
    return "" if at is None else f"its jobs and images, on {at.date()}; counts and costs remain"


def _nonzero(counts: Mapping[JobState, int], total: int, *, is_all: bool) -> str:
    listed = ", ".join(f"{count:,} {state.value}" for state, count in counts.items() if count)
    return f"{listed} = {total:,} {'in all' if is_all else 'so far, more are being submitted'}"


def print_batches(batches: Sequence[BatchSummary]) -> None:
    """Write a list of batches, a line each."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("batch", no_wrap=True)
    table.add_column("name", overflow="ellipsis", no_wrap=True, max_width=20)
    table.add_column("state", no_wrap=True)
    for heading in ("done", "total"):
        table.add_column(heading, justify="right", no_wrap=True)
    for batch in batches:
        done = f"{batch.counts[JobState.DONE]:,}"
        table.add_row(str(batch.id), Text(batch.name), batch.state, done, f"{batch.total:,}")
    _console().print(table)


def print_rejects(rejects: Rejects, *, as_json: bool = False) -> None:
    """List the lines that were refused on stderr: the first 20, and where all of them are."""
    if as_json:
        complain(json.dumps({"rejected": rejects.to_json()}))
        return
    for line in rejects.first:
        complain(line.describe(rejects.source))
    left = rejects.count - len(rejects.first)
    if left:
        complain(f"and {left:,} more")
    if rejects.count:
        lines = "line was" if rejects.count == 1 else "lines were"
        complain(f"{rejects.count:,} {lines} left out; listed in {rejects.path}")


def _console(*, to_stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=to_stderr, highlight=False, markup=False, emoji=False)


def print_rich(what: RenderableType) -> None:
    """Write something that Rich lays out."""
    _console().print(what)
