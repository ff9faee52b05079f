"""``tenstep doctor``: what is wrong with an installation, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli import options
from producer.cli.console import print_json, print_rich, say
from producer.cli.errors import FAILED

if TYPE_CHECKING:
    from rich.table import Table

    from producer.doctor.finding import Finding

EPILOG = "Example: tenstep doctor --json"
SKIPPED = "skipped"
STYLES = {"fault": "bold red", "warning": "yellow", "ok": "green", SKIPPED: "dim"}
CHECK_WIDTH = 22

Row = tuple[str, str, str]
"""A verdict, a check, and words."""


def doctor(
    *,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            min=0.1,
            max=600,
            metavar="SECONDS",
            help="How long the database, Redis or the storage may take to answer.",
        ),
    ] = 10,
    as_json: options.Json = False,
) -> None:
    """Check this installation, and say what to do about each fault.

    Looked at are settings, database, Redis, storage, clock, devices, models, versions, and the
    live workers. Nothing is changed: one small object is written to the storage, and removed. The
    exit code is 1 if there is a fault, whatever warnings there are.
    """
    from producer.doctor.diagnosis import diagnose
    from producer.doctor.finding import Verdict

    findings = list(diagnose(timeout))
    is_well = not any(finding.verdict is Verdict.FAULT for finding in findings)
    if as_json:
        print_json({"ok": is_well, "checks": [finding.to_json() for finding in findings]})
    else:
        _print_findings(findings)
    if not is_well:
        raise typer.Exit(FAILED)


def _print_findings(findings: Sequence[Finding]) -> None:
    print_rich(_table(list(_rows(findings))))
    remedies = [(one.verdict, one.check, one.remedy) for one in findings if one.remedy]
    if remedies:
        say("\nWhat to do:")
        print_rich(_table(remedies))
    say(f"\n{_counted(findings)}")


def _counted(findings: Sequence[Finding]) -> str:
    counts = Counter(one.verdict.value for one in findings)
    nouns = [("fault", "s"), ("warning", "s"), (SKIPPED, ""), ("ok", "")]
    return ", ".join(
        f"{counts[verdict]} {verdict}{plural if counts[verdict] > 1 else ''}"
        for verdict, plural in nouns
        if counts[verdict]
    )


def _rows(findings: Sequence[Finding]) -> Iterator[Row]:
    """Yield a row a finding, but one for all that was skipped for one reason."""
    for (verdict, found), alike in groupby(findings, lambda one: (one.verdict, one.found)):
        checks = [finding.check for finding in alike]
        if verdict == SKIPPED and len(checks) > 1:
            yield verdict, f"{len(checks)} checks", f"{found}: {', '.join(checks)}"
        else:
            yield from ((verdict, check, found) for check in checks)


def _table(rows: Sequence[Row]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(max_width=CHECK_WIDTH, overflow="fold")
    table.add_column(overflow="fold")
    for verdict, check, words in rows:
        table.add_row(Text(verdict, style=STYLES[verdict]), Text(check), Text(words))
    return table
