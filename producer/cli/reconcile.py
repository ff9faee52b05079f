"""``tenstep cost reconcile``: whether the books add up, and agree with a bill."""

from __future__ import annotations

from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli import options
from producer.cli.console import print_json, print_rich, say
from producer.cli.errors import FAILED
from shared.domain.money import format_dollars
from shared.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from producer.reconcile.bill import BillLine
    from producer.reconcile.findings import Proof
    from producer.reconcile.proof import OnProgress

EPILOG = "Example: tenstep cost reconcile --bill november.csv --tolerance 0.5"
EXACT = 9
PER_CENT = 100


def reconcile(
    bill: Annotated[
        Path | None,
        typer.Option(
            "--bill",
            metavar="FILE.csv",
            help="A cloud's bill to compare with: day, device_kind, sku, usd.",
        ),
    ] = None,
    tolerance: Annotated[
        str,
        typer.Option("--tolerance", metavar="PERCENT", help="By how much the bill may differ."),
    ] = "0.1",
    *,
    as_json: options.Json = False,
) -> None:
    """Prove the books from inside: every nano-dollar of every entry.

    Every attempt is booked once at its own price; every worker's entries are its time online
    at the prices in force; every report's sums are the sums of the entries. Exit code 1 if a
    nano-dollar is missing, or if the bill differs by more than the tolerance.
    """
    from producer.cli.database import opened
    from producer.reconcile.bill import compare_bill, read_bill
    from producer.reconcile.proof import complete_the_books, prove
    from shared.settings import load_settings

    most = _percent(tolerance)
    billed = None if bill is None else read_bill(bill)
    with opened(load_settings()) as database:
        complete_the_books(database)
        with database.snapshot() as session, _progress(quiet=as_json) as on_progress:
            proof = prove(session, on_progress)
            lines = () if billed is None else compare_bill(session, billed)
    is_within = _is_within(lines, most)
    if as_json:
        compared = {"bill": [line.to_json() for line in lines], "bill_agrees": is_within}
        print_json({**proof.to_json(), **(compared if billed is not None else {})})
    else:
        _print_proof(proof)
        if billed is not None:
            _print_bill(lines, most, is_within=is_within)
    if not proof.holds or not is_within:
        raise typer.Exit(FAILED)


def _percent(text: str) -> Decimal:
    try:
        percent = Decimal(text)
    except InvalidOperation:
        raise InputError(f"--tolerance: {text!r} is not a number of per cent") from None
    if not percent.is_finite() or percent < 0:
        raise InputError(f"--tolerance: {text} is not a number of per cent from 0 on")
    return percent


def _is_within(lines: Sequence[BillLine], percent: Decimal) -> bool:
    billed = sum(line.billed_nanodollars for line in lines)
    difference = sum(line.difference_nanodollars for line in lines)
    return abs(difference) * PER_CENT <= percent * billed


@contextmanager
def _progress(*, quiet: bool) -> Iterator[OnProgress | None]:
    import sys

    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("attempts", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_proof(proof: Proof) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("check", no_wrap=True)
    for heading in ("compared", "booked", "due", "wrong"):
        table.add_column(heading, justify="right", no_wrap=True)
    for finding in proof.findings:
        table.add_row(
            finding.name,
            f"{finding.compared:,}",
            _exactly(finding.booked_nanodollars),
            _exactly(finding.due_nanodollars),
            f"{finding.differences:,}",
        )
    print_rich(table)
    for finding in proof.findings:
        for example in finding.examples:
            say(
                f"wrong: {example.what}: {_exactly(example.booked_nanodollars)} booked, "
                f"{_exactly(example.due_nanodollars)} due"
            )
    say("")
    amounts = {
        f"time online of {proof.workers:,} workers at its price": proof.online_nanodollars,
        f"since then, of {proof.at_work:,} at work": proof.in_hand_nanodollars,
        "storage and requests": proof.store_nanodollars,
        "sum of all entries": proof.entries_nanodollars,
        "not explained": proof.unexplained_nanodollars,
    }
    for what, amount in amounts.items():
        say(f"{what:<46} {_exactly(amount):>20}")
    say("the books add up" if proof.holds else "THE BOOKS DO NOT ADD UP")


def _print_bill(lines: Sequence[BillLine], percent: Decimal, *, is_within: bool) -> None:
    from rich.table import Table

    say("")
    table = Table(box=None, pad_edge=False, show_footer=True)
    billed = sum(line.billed_nanodollars for line in lines)
    booked = sum(line.booked_nanodollars for line in lines)
    table.add_column("day", no_wrap=True, footer="all")
    table.add_column("device", no_wrap=True)
    for heading, amount in (("bill", billed), ("books", booked), ("difference", billed - booked)):
        table.add_column(heading, justify="right", no_wrap=True, footer=format_dollars(amount))
    for line in lines:
        table.add_row(
            line.key.day.isoformat(),
            f"{line.key.device_kind} {line.key.sku}".rstrip(),
            format_dollars(line.billed_nanodollars),
            format_dollars(line.booked_nanodollars),
            format_dollars(line.difference_nanodollars),
        )
    print_rich(table)
    verdict = "within" if is_within else "NOT within"
    say(f"the bill and the books agree {verdict} {percent} %")


def _exactly(nanodollars: int) -> str:
    return format_dollars(nanodollars, decimals=EXACT)
