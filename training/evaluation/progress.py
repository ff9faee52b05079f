"""How far an evaluation has come, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.evaluation.watch import Unwatched, Watch


@contextmanager
def progress_bars(*, quiet: bool) -> Iterator[Watch]:
    """Show a bar for what goes on, with the time left, on the standard error's terminal.

    Args:
        quiet: show none.
    """
    if quiet:
        yield Unwatched()
        return
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as progress:
        yield _Bars(progress)


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def begin(self, what: str, total: int) -> None:
        self._task = self._progress.add_task(what, total=total)

    def advance(self, parts: int) -> None:
        self._progress.advance(self._task, parts)
