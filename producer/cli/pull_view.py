"""How far a pull is, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from producer.cli.console import FRAMES_A_SECOND, PLAIN_LINE_SECONDS, complain

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from producer.progress import Progress, Report

MEGABYTE = 1_000_000


@contextmanager
def counting_view(*, quiet: bool = False) -> Iterator[Report]:
    """Show how something goes on; hands out the function to call, as often as one likes.

    On a terminal it is a bar that is gone when the block ends; elsewhere a line every five
    seconds at most. What takes less shows nothing there.

    Args:
        quiet: show nothing, for ``--json``.
    """
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield _LiveView(bars)
    else:
        yield _PlainView()


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[counted]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        expand=True,
        transient=True,
        refresh_per_second=FRAMES_A_SECOND,
    )


class _LiveView:
    """A bar for each thing that is counted."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._pace = _Pace(1 / FRAMES_A_SECOND)
        self._doing = ""

    def __call__(self, progress: Progress) -> None:
        if progress.doing != self._doing:
            self._doing = progress.doing
            self._bars.add_task(progress.doing, total=progress.total, counted="")
        elif not self._pace.is_due(progress):
            return
        self._bars.update(
            self._bars.task_ids[-1],
            completed=progress.done,
            total=progress.total,
            counted=self._pace.counted(progress),
        )


class _PlainView:
    """For logs and pipes."""

    def __init__(self) -> None:
        self._pace = _Pace(PLAIN_LINE_SECONDS)

    def __call__(self, progress: Progress) -> None:
        if self._pace.is_due(progress):
            complain(f"{progress.doing}: {self._pace.counted(progress)}")


class _Pace:
    """How fast it goes, and whether it is time to tell."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._doing = ""
        self._begin = self._next = 0.0
        self._done = self._bytes = 0

    def is_due(self, progress: Progress) -> bool:
        now = time.monotonic()
        if progress.doing != self._doing:
            self._doing = progress.doing
            self._begin, self._next = now, now + self._seconds
            self._done, self._bytes = progress.done, progress.bytes
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True

    def counted(self, progress: Progress) -> str:
        """Say ``1,200 of 50,000, 600/s, 12.5 MB/s``."""
        seconds = max(time.monotonic() - self._begin, 0.001)
        parts = [f"{progress.done:,} of {progress.total:,}"]
        if self._doing == progress.doing:
            parts.append(f"{(progress.done - self._done) / seconds:,.0f}/s")
            if progress.bytes > self._bytes:
                parts.append(f"{(progress.bytes - self._bytes) / seconds / MEGABYTE:.1f} MB/s")
        return ", ".join(parts)
