"""What is put into the price book. Nothing in it is changed or removed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from producer.price_book import Book, Standing, exact, moment_text, read_book
from producer.price_file import PriceFile, PriceTable, RateTable, StoreTable
from shared.db.corrections import Corrected, correct
from shared.db.cost_tables import DeclaredRate, LedgerEntry, Price, StoreRate
from shared.db.engine import Database
from shared.db.price_spans import Affected, PriceSpan, find_affected
from shared.db.prices import keep_others_from_pricing
from shared.domain.jobs import LedgerKind
from shared.errors import InputError

OF_THE_STORE = (LedgerKind.STORAGE, LedgerKind.REQUESTS)
NEVER_CHANGED = "What is in the book stays. Set another from another moment."
NOTHING = Affected()
Key = tuple[()] | tuple[str, str]
"""Device kind and SKU of a price; empty for the store."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one table of a price file."""

    name: str
    """Such as ``price 3``."""
    table: PriceTable | StoreTable | RateTable
    is_new: bool
    """Whether it is not in the book already."""
    effective_from: datetime
    """Of a rate it is now."""
    span: PriceSpan | None = None
    """While a price is in force that begins before now."""
    affected: Affected = NOTHING
    problem: str | None = None
    """Why it cannot be recorded."""
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """What was put into the book."""

    changes: Sequence[Change]
    """One for each table."""
    corrected: Corrected


def update_book(
    database: Database,
    file: PriceFile,
    *,
    name: str | None = None,
    corrects: bool = False,
    only_checks: bool = False,
) -> Update:
    """Put what is new in a price file into the book: all of it or nothing.

    Args:
        database: has the book.
        file: what to put in. What is there already is left as it is.
        name: what errors call the file; None is for a single price of the command line.
        corrects: book the difference that a price makes which begins before now.
        only_checks: change nothing.

    Raises:
        InputError: a table contradicts the book, or changes what is booked.
    """
    opened: AbstractContextManager[Session]
    opened = database.snapshot() if only_checks else database.write()
    with opened as session:
        if not only_checks:
            # SQLite has its lock only with the first statement.
            session.connection()
            keep_others_from_pricing(session)
        # Others have claimed before this moment, or will see what is recorded.
        now = database.now(session)
        changes = list(_changes(session, file, now, corrects=corrects))
        _refuse(changes, name)
        corrected = Corrected() if only_checks else _record(session, changes)
    return Update(changes, corrected)


def _refuse(changes: Sequence[Change], name: str | None) -> None:
    wrong = [change for change in changes if change.problem]
    if not wrong:
        return
    if name is None:
        raise InputError(f"--from: {wrong[0].problem}", hint=wrong[0].hint)
    lines = [f"{name}: {change.name}: from: {change.problem}" for change in wrong]
    hints = dict.fromkeys(change.hint for change in wrong if change.hint)
    raise InputError("\n".join(lines), hint=" ".join(["Nothing was recorded.", *hints]))


def _record(session: Session, changes: Sequence[Change]) -> Corrected:
    corrected = Corrected()
    # The last first: so nothing is corrected for one price and then again for the next.
    for change in sorted(changes, key=lambda change: change.effective_from, reverse=True):
        if not change.is_new:
            continue
        values = {**change.table.model_dump(), "effective_from": change.effective_from}
        match change.table:
            case PriceTable():
                price = Price(**values)
                session.add(price)
                session.flush()
                if change.span is not None:
                    corrected += correct(session, price, change.span)
            case StoreTable():
                session.add(StoreRate(**values))
            case RateTable():
                session.merge(DeclaredRate(**change.table.model_dump()))
    return corrected


def _changes(
    session: Session, file: PriceFile, now: datetime, *, corrects: bool
) -> Iterator[Change]:
    book = read_book(session, now)
    begins = _begins(book, file, now)
    for number, price in enumerate(file.prices, 1):
        device = (price.device_kind.value, price.sku)
        there = [row for row in book.prices if (row[0].device_kind, row[0].sku) == device]
        change = _change(f"price {number}", price, there, now)
        begin = change.effective_from
        if change.is_new and begin < now:
            span = PriceSpan(*device, begin, _next(begins[device], begin))
            change = _checked_price(session, change, span, corrects=corrects)
        yield change
    for number, store in enumerate(file.stores, 1):
        change = _change(f"store {number}", store, book.stores, now)
        begin = change.effective_from
        if change.is_new and begin < now:
            change = _checked_store(session, change, begin, _next(begins[()], begin))
        yield change
    for number, rate in enumerate(file.rates, 1):
        known = any(_says(row, rate.model_dump()) for row in book.rates)
        yield Change(f"rate {number}", rate, not known, now)


def _begins(book: Book, file: PriceFile, now: datetime) -> Mapping[Key, list[datetime]]:
    """Collect when prices begin, those of the book and those of the file."""
    begins: defaultdict[Key, list[datetime]] = defaultdict(list)
    for row, _ in book.prices:
        begins[row.device_kind, row.sku].append(row.effective_from)
    for price in file.prices:
        begins[price.device_kind.value, price.sku].append(price.effective_from or now)
    begins[()] += [row.effective_from for row, _ in book.stores]
    begins[()] += [store.effective_from or now for store in file.stores]
    return begins


def _change(
    name: str,
    table: PriceTable | StoreTable,
    there: Sequence[tuple[Price | StoreRate, Standing]],
    now: datetime,
) -> Change:
    """Look a price up in the book.

    Without a moment it stands for the one in force, if that says the same in all.
    """
    same = table.model_dump(exclude={"effective_from"})
    if table.effective_from is None:
        row = next((row for row, at in there if at is Standing.IN_FORCE and _says(row, same)), None)
        return Change(name, table, row is None, row.effective_from if row else now)
    row = next((row for row, _ in there if row.effective_from == table.effective_from), None)
    amounts = {field: value for field, value in same.items() if field.startswith("nanodollars")}
    if row is None or _says(row, amounts):
        return Change(name, table, row is None, table.effective_from)
    booked = " and ".join(f"${exact(getattr(row, field))}" for field in amounts)
    problem = f"the book has {booked} from {moment_text(row.effective_from)} on"
    return Change(
        name,
        table,
        is_new=False,
        effective_from=row.effective_from,
        problem=problem,
        hint=NEVER_CHANGED,
    )


def _says(row: object, values: Mapping[str, object]) -> bool:
    return all(getattr(row, name) == value for name, value in values.items())


def _checked_price(session: Session, change: Change, span: PriceSpan, *, corrects: bool) -> Change:
    """See what was priced already while a price should have been in force."""
    affected = find_affected(session, span)
    begin = moment_text(span.begin)
    problem = hint = None
    if affected.running:
        images = "1 image is" if affected.running == 1 else f"{affected.running:,} images are"
        problem = f"{images} being drawn at the price before, begun since {begin}"
        hint = "Wait for the end, after tenstep pause BATCH, or set it from a later moment."
    elif affected.carried:
        problem = f"the details of what was priced from {begin} on were removed in part"
        hint = "Nobody can correct it any more: set it from a later moment."
    elif affected and not corrects:
        problem = f"{affected_text(affected)} priced from {begin} on already"
        hint = "Say --correct to book the differences, or set it from a later moment."
    return replace(change, span=span, affected=affected, problem=problem, hint=hint)


def affected_text(affected: Affected) -> str:
    """Say ``12 entries and the idle time of 2 workers were``."""
    parts = []
    if affected.entries:
        parts.append("1 entry" if affected.entries == 1 else f"{affected.entries:,} entries")
    if affected.workers:
        workers = "1 worker" if affected.workers == 1 else f"{affected.workers:,} workers"
        parts.append(f"the idle time of {workers}")
    is_one = not affected.workers and affected.entries == 1
    return " and ".join(parts) + (" was" if is_one else " were")


def _checked_store(
    session: Session, change: Change, begin: datetime, end: datetime | None
) -> Change:
    booked = select(func.count()).where(
        LedgerEntry.kind.in_(OF_THE_STORE), LedgerEntry.priced_at >= begin
    )
    if end is not None:
        booked = booked.where(LedgerEntry.priced_at < end)
    count = session.scalar(booked)
    if not count:
        return change
    problem = f"storage from {moment_text(begin)} on is booked already, in {count:,} entries"
    hint = "Set it from a later moment: only what devices cost is corrected."
    return replace(change, problem=problem, hint=hint)


def _next(begins: Sequence[datetime], begin: datetime) -> datetime | None:
    return min((other for other in begins if other > begin), default=None)
