"""The report of ``tenstep bench speed`` as a page in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import InputError
from shared.files import atomic_file
from shared.version import VERSION
from worker.commands.speed_view import (
    HEADS,
    PROFILE_HEADS,
    by_model,
    cells,
    conditions,
    notes,
    profiles,
    ratios,
)

if TYPE_CHECKING:
    from worker.bench.speed.report import Report

TITLE = "# Speed of models and peers"
COLUMNS = ("run by", *HEADS[1:])


def write_page(report: Report, path: Path) -> None:
    """Write the page.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        with atomic_file(path) as file:
            file.write(("\n".join(_lines(report)) + "\n").encode())
    except OSError as error:
        raise InputError(f"--report {path}: {error.strerror or error}") from None


def _lines(report: Report) -> Iterator[str]:
    yield from (TITLE, "")
    yield f"tenstep {VERSION} on this machine. The command: `{_command(report)}`."
    yield ""
    yield from (f"- {line}" for line in conditions(report))
    for title, rows in by_model(report):
        yield from ("", f"## {title}", "")
        yield from _table(COLUMNS, map(cells, rows))
    for title, lines in profiles(report):
        yield from ("", f"## Where the time goes: {title}", "")
        yield from _table(("part", *PROFILE_HEADS[1:]), lines)
    compared = list(ratios(report))
    if compared:
        yield from ("", "## Models compared", "")
        yield from (f"- {line}" for line in compared)
    yield from ("", "## Notes", "")
    yield from (f"- {line}" for line in notes(report))


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"| --- |{' ---: |' * (len(heads) - 1)}"
    yield from (f"| {' | '.join(line)} |" for line in lines)


def _command(report: Report) -> str:
    plan = report.plan
    options = {
        "models": ",".join(card.name for card in plan.cards),
        "size": plan.side,
        "backends": ",".join(plan.backends),
        "peers": ",".join(plan.peers) or "none",
        "chunks": ",".join(map(str, plan.chunks)),
        "rounds": plan.rounds,
        "qualities": ",".join(plan.qualities),
    }
    words = " ".join(f"--{name} {value}" for name, value in options.items())
    switches = {"whole": plan.whole, "profile": plan.profile}
    return " ".join(
        ["tenstep bench speed", words, *(f"--{name}" for name, is_on in switches.items() if is_on)]
    )
