"""How the price book looks in a terminal, and to programs."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

from producer.amounts import usd
from producer.cli.console import say
from producer.price_book import Book, Standing, exact, moment_text, seconds
from producer.price_changes import Change, Update, affected_text
from producer.price_file import PriceTable, RateTable, StoreTable
from shared.db.corrections import Corrected
from shared.db.cost_tables import DeclaredRate, Price, StoreRate

EXAMPLE = "example"
INDENT = "  "


def print_book(book: Book) -> None:
    """Write prices, a line each, with the source on a line of its own."""
    rows = [
        (
            device(price),
            exact(price.nanodollars_per_hour),
            moment_text(price.effective_from),
            ", ".join([*([at.value] if at is not Standing.IN_FORCE else []), *_example(price)]),
            _source(price),
        )
        for price, at in book.prices
    ]
    _print_rows(("device", "$/hour", "from", ""), rows)
    if book.stores:
        say("")
        _print_rows(("object store", "$", "from", ""), _store_rows(book))
    if book.rates:
        say("\ndeclared, not measured")
    for rate in book.rates:
        what, _, times = rate_text(rate).rpartition(": ")
        say(what)
        _print_source(f"{times}; {rate.source}")


def _store_rows(book: Book) -> Iterable[Sequence[str]]:
    for store, at in book.stores:
        since = moment_text(store.effective_from)
        note = "" if at is Standing.IN_FORCE else at.value
        yield "a GiB and month", exact(store.nanodollars_per_gib_month), since, note, ""
        requests = exact(store.nanodollars_per_thousand_requests)
        yield "a thousand requests", requests, since, note, _source(store)


def _print_rows(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = [(*headings, ""), *rows]
    first, second, third = (max(len(line[column]) for line in lines) for column in range(3))
    for name, amount, since, note, source in lines:
        say(f"{name:<{first}}  {amount:>{second}}  {since:<{third}}  {note}".rstrip())
        _print_source(source)


def _print_source(source: str) -> None:
    width = shutil.get_terminal_size().columns
    for line in textwrap.wrap(
        source, width, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False
    ):
        say(line)


def _source(step: Price | StoreRate) -> str:
    return f"{step.source} ({step.source_date})" if step.source_date else step.source


def _example(price: Price) -> list[str]:
    return [EXAMPLE] if price.is_example else []


def device(priced: Price | PriceTable | RateTable | DeclaredRate) -> str:
    """Say ``cuda g5.xlarge``."""
    return f"{priced.device_kind} {priced.sku}".rstrip()


def rate_text(rate: RateTable | DeclaredRate) -> str:
    """Say how long an image takes."""
    return (
        f"{device(rate)}: {rate.model}, {rate.width} x {rate.height}, {rate.iterations} "
        f"iterations: {seconds(rate.device_ns)} s an image, {seconds(rate.load_ns)} s to load"
    )


def print_update(update: Update, *, only_checks: bool) -> None:
    """Write what was put into the book, or would be."""
    new = [change for change in update.changes if change.is_new]
    would = "would be " if only_checks else ""
    for change in new:
        say(f"{would}recorded: {change_text(change)}")
        if only_checks and change.affected:
            say(f"{INDENT}{affected_text(change.affected)} priced by then, and would be corrected")
    known = [change for change in update.changes if not change.is_new]
    if len(known) == 1:
        say(f"in the book already: {change_text(known[0])}")
    elif known:
        say(f"{len(known):,} are in the book already")
    if not only_checks:
        print_corrected(update.corrected)


def print_corrected(corrected: Corrected) -> None:
    """Write what was booked because of a price."""
    if not corrected.entries and not corrected.workers:
        return
    entries = "1 entry" if corrected.entries == 1 else f"{corrected.entries:,} entries"
    workers = "1 worker" if corrected.workers == 1 else f"{corrected.workers:,} workers"
    more = "more" if corrected.nanodollars >= 0 else "less"
    amount = usd(abs(corrected.nanodollars))
    say(f"corrected: {entries} and the idle time of {workers}, ${amount} {more} in all")


def change_text(change: Change) -> str:
    """Say what costs how much from when on."""
    since = moment_text(change.effective_from)
    match change.table:
        case PriceTable() as price:
            return f"{device(price)}: ${exact(price.nanodollars_per_hour)} an hour from {since} on"
        case StoreTable() as store:
            month = exact(store.nanodollars_per_gib_month)
            requests = exact(store.nanodollars_per_thousand_requests)
            return (
                f"object store: ${month} a GiB and month, "
                f"${requests} a thousand requests, from {since} on"
            )
        case RateTable() as rate:
            return rate_text(rate)
