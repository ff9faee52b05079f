"""How far a submission is, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def submission_view(
    name: str, *, unit: str = "images", quiet: bool = False
) -> Iterator[Callable[[int, float | None], None]]:
    """Show how reading goes on; hands out what to call with a count and the share read.

    Args:
        name: of the source.
        unit: what is counted.
        quiet: show nothing, for ``--json``.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _jobs, _share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    begin = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task(name, total=None, said="")

        def show(count: int, share: float | None) -> None:
            rate = count / max(time.monotonic() - begin, 0.001)
            said = f"{count:,} {unit}, {rate:,.0f} a second"
            if share:
                bar.update(task, total=1.0, completed=share, said=said)
            else:
                bar.update(task, said=said)

        yield show
