"""``tenstep prices``: what devices cost an hour, from when on, and who says so."""

from __future__ import annotations

import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli import options
from producer.cli.console import print_json
from shared.domain.devices import DeviceKind
from shared.errors import InputError

if TYPE_CHECKING:
    from producer.price_book import Book
    from producer.price_file import PriceFile, PriceTable

BY_HAND = "set on the command line"
SET_EPILOG = "Example: tenstep prices set cuda --sku g5.xlarge --usd-per-hour 1.006"
# One line a paragraph, or Rich breaks lines where the source does.
SET_HELP = (
    "Set what an hour of a device costs from a moment on, until its next price.\n\n"
    "A price is never changed or removed. One that begins in the past may change what was "
    "booked since then: --correct books the differences, and rewrites nothing."
)

app = typer.Typer(
    name="prices",
    help="Show and set what devices cost, from when on.",
    epilog=SET_EPILOG,
    invoke_without_command=True,
)

All = Annotated[bool, typer.Option("--all", help="Also those that are past.")]
Correct = Annotated[
    bool,
    typer.Option("--correct", help="Book what a price changes that begins in the past."),
]


@app.callback()
def prices(context: typer.Context, *, all_: All = False, as_json: options.Json = False) -> None:
    """Show and set what devices cost, from when on. Without a command, list it."""
    if context.invoked_subcommand is None:
        list_prices(all_=all_, as_json=as_json)
    elif all_ or as_json:
        raise InputError(f"write options after the word {context.invoked_subcommand}")


@app.command("list", epilog="Example: tenstep prices list --all --json")
def list_prices(*, all_: All = False, as_json: options.Json = False) -> None:
    """List the prices in force, and those to come."""
    from producer.cli.price_views import print_book
    from producer.price_documents import book_json

    book = _read(past=all_)
    if not all_:
        book = book.without_past()
    if as_json:
        print_json(book_json(book))
    else:
        print_book(book)


@app.command("set", help=SET_HELP, epilog=SET_EPILOG)
def set_price(
    kind: Annotated[DeviceKind, typer.Argument(metavar="KIND", help="cpu, cuda, qaic, simulated.")],
    *,
    usd_per_hour: Annotated[
        str, typer.Option("--usd-per-hour", metavar="AMOUNT", help="Such as 1.006, exactly.")
    ],
    sku: Annotated[
        str,
        typer.Option("--sku", help="What was bought, as workers have it in TENSTEP_DEVICE_SKU."),
    ] = "",
    begin: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TIME", help="Such as 2026-12-01T09:00, in UTC; default now."
        ),
    ] = None,
    source: Annotated[str, typer.Option("--source", help="Where the figure is from.")] = BY_HAND,
    source_date: Annotated[
        str | None, typer.Option("--source-date", metavar="DATE", help="When it was read there.")
    ] = None,
    currency: Annotated[str, typer.Option("--currency", help="USD.")] = "USD",
    correct: Correct = False,
    as_json: options.Json = False,
) -> None:
    """Set what an hour of a device costs from a moment on."""
    from producer.cli.server import refuse_server
    from producer.price_file import CURRENCY, OTHER_CURRENCY, PriceFile

    refuse_server("prices set")
    if currency != CURRENCY:
        raise InputError(f"--currency: {currency!r}: {OTHER_CURRENCY}")
    fields = {
        "kind": kind,
        "sku": sku,
        "usd_per_hour": usd_per_hour,
        "source": source,
        **({} if begin is None else {"from": _time("--from", begin)}),
        **({} if source_date is None else {"source_date": _date("--source-date", source_date)}),
    }
    _put(PriceFile(prices=[_checked(fields)]), None, correct=correct, check=False, as_json=as_json)


@app.command(epilog="Example: tenstep prices load prices.toml --check")
def load(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="TOML, as export writes it.")],
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; say what would change.")
    ] = False,
    correct: Correct = False,
    as_json: options.Json = False,
) -> None:
    """Put the prices of a file into the book, all of them or none.

    What is in the book already stays as it is, so a file may be loaded again.
    """
    from producer.cli.server import refuse_server
    from producer.price_file import read_price_file

    refuse_server("prices load")
    file = read_price_file(path)
    _put(file, path.name, correct=correct, check=check, as_json=as_json)


@app.command(epilog="Example: tenstep prices export > prices.toml")
def export(*, as_json: options.Json = False) -> None:
    """Write the book as TOML, which load reads: all of it, past prices too."""
    from producer.price_book import to_document
    from producer.price_file import format_price_file, plain

    document = to_document(_read())
    if as_json:
        print_json(plain(document))
    else:
        sys.stdout.write(format_price_file(document))


def _read(*, past: bool = True) -> Book:
    from producer.cli.database import opened
    from producer.cli.server import command_settings, opened_server
    from producer.price_book import read_book

    settings = command_settings()
    if settings.server is not None:
        from producer.cli.remote.books import read_prices

        with opened_server(settings) as client:
            return read_prices(client, past=past)
    with opened(settings) as database, database.snapshot() as session:
        return read_book(session, database.now(session))


def _put(file: PriceFile, name: str | None, *, correct: bool, check: bool, as_json: bool) -> None:
    from producer.cli.database import opened
    from producer.cli.price_views import print_update
    from producer.price_changes import update_book
    from producer.price_documents import update_json
    from shared.settings import load_settings

    with opened(load_settings(), may_create=True) as database:
        update = update_book(database, file, name=name, corrects=correct, only_checks=check)
    if as_json:
        print_json(update_json(update, only_checks=check))
    else:
        print_update(update, only_checks=check)


def _checked(fields: dict[str, object]) -> PriceTable:
    from pydantic import ValidationError

    from producer.price_file import PriceTable, reasons

    try:
        return PriceTable.model_validate(fields)
    except ValidationError as error:
        field, _, reason = next(reasons(error)).partition(": ")
        raise InputError(f"--{field.replace('_', '-')}: {reason}") from None


def _time(option: str, text: str) -> date:
    """Read a date, or a time with or without a zone."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{option}: {text!r} is not a time", hint="Write 2026-12-01 or 2026-12-01T09:00+01:00."
        ) from None


def _date(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{option}: {text!r} is not a date", hint="Write it as 2026-12-01."
        ) from None
