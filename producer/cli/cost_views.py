"""How costs look in a terminal of 80 columns."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from producer.cli.console import print_rich, say
from producer.costs_by import CostsBy
from shared.domain.jobs import LedgerKind
from shared.domain.money import NANOSECONDS, format_dollars

if TYPE_CHECKING:
    from rich.table import Table

    from producer.costs import Bill, CostReport, JobCost
    from producer.costs.amounts import Amounts
    from producer.costs.applied import AppliedPrice
    from producer.costs.grouping import Key
    from producer.costs.quoted import QuoteComparison
    from producer.costs.scope import Settled

EXACT_DECIMALS = 9
BRIEF_DECIMALS = 6
PRICE_DECIMALS = 4
ID_CHARACTERS = 13
"""Of an id: it begins with the millisecond in which it was made."""
WIDEST_NAME = 14
"""Columns for a batch's or a device's name beside what it is the name of."""

KIND_WORDS = {
    LedgerKind.RENDER: "images",
    LedgerKind.FAILED_ATTEMPT: "failed attempts",
    LedgerKind.DUPLICATE: "duplicated work",
    LedgerKind.MODEL_LOAD: "model loads",
    LedgerKind.IDLE: "idle",
    LedgerKind.STORAGE: "storage",
    LedgerKind.REQUESTS: "requests",
    LedgerKind.CORRECTION: "corrections",
}
NOTHING_OF = {CostsBy.DEVICE: "no device", CostsBy.WORKER: "no worker", CostsBy.TAG: "no tag"}
"""What a group without a name is: storage has no device, and not every batch has tags."""


def print_bill(bill: Bill) -> None:
    """Write a bill whose lines add up, to the nano-dollar."""
    table = _table("bill")
    for heading in ("count", "device time", "cost"):
        table.add_column(heading, justify="right")
    for line in bill.lines:
        count = f"{line.count:,}"
        cost = exactly(line.nanodollars)
        table.add_row(KIND_WORDS[line.kind], count, _device_time(line.device_ns), cost)
    for name, device_ns, nanodollars in (
        ("total", bill.device_ns, bill.total_nanodollars),
        ("idle share", bill.idle_ns, bill.idle_nanodollars),
        ("fully loaded", bill.device_ns + bill.idle_ns, bill.fully_loaded_nanodollars),
    ):
        table.add_row(name, "", _device_time(device_ns), exactly(nanodollars))
    print_rich(table)
    for sentence in _about(bill):
        say(sentence)


def _about(bill: Bill) -> Iterator[str]:
    if (images := bill.images) is not None:
        yield (
            f"an image: {exactly(images.mean)} on average; drawing one took "
            f"{exactly(images.least)} to {exactly(images.most)}"
        )
        yield f"an image, fully loaded: {exactly(images.mean_fully_loaded)} on average"
    if bill.quote is not None:
        yield from _against_quote(bill.quote)
    if bill.max_nanodollars is not None:
        spent = _per_cent_of(bill.total_nanodollars, bill.max_nanodollars)
        yield f"budget: {exactly(bill.max_nanodollars)}, {spent} of it spent"
    if bill.devices:
        yield f"drawn on: {', '.join(bill.devices)}"
    for price in bill.prices:
        yield f"priced at {_priced(price)}"
    yield from _unsettled(bill.settled)


def _against_quote(quote: QuoteComparison) -> Iterator[str]:
    if quote.expected is None:
        return
    images = "" if quote.images is None else f" for {quote.images:,} images"
    between = ""
    if quote.low is not None and quote.high is not None:
        between = f", {exactly(quote.low)} to {exactly(quote.high)}"
    yield f"quoted: {exactly(quote.expected)}{images}{between}"
    if quote.expected_for_done and quote.difference_per_cent is not None:
        yield (
            f"actual: {exactly(quote.actual)} for the {quote.images_done:,} done, "
            f"quoted {exactly(quote.expected_for_done)}: {quote.difference_per_cent:+.1f}%"
        )


def _priced(price: AppliedPrice) -> str:
    dollars = format_dollars(price.nanodollars_per_hour, decimals=PRICE_DECIMALS)
    source = "an example price that came with tenstep" if price.is_example else price.source
    return f"{dollars} an hour of {f'{price.device_kind} {price.sku}'.strip()}, {source}"


def _unsettled(settled: Settled) -> Iterator[str]:
    """Tell up to when idle time is in the books, if some is missing."""
    if settled.until is None:
        return
    who = []
    if settled.at_work:
        who.append(_counted(settled.at_work, "worker is at work", "workers are at work"))
    if settled.ended:
        what = "worker that ended is not settled yet", "workers that ended are not settled yet"
        who.append(_counted(settled.ended, *what))
    yield f"idle time is booked up to {settled.until:%Y-%m-%d %H:%M} UTC; {', '.join(who)}"


def _counted(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def print_report(report: CostReport) -> None:
    """Write a report: its groups, what it all went for, and what has to be known of it."""
    if not report.total.booked:
        say("nothing is booked")
    else:
        print_rich(_groups(report))
        say("")
        print_rich(_went_for(report))
    if report.groups_overlap:
        say("a batch with several tags is in the group of each: groups may overlap")
    for sentence in _unsettled(report.settled):
        say(sentence)


def _groups(report: CostReport) -> Table:
    from rich.text import Text

    labels = _label_headings(report.by)
    with_busy = len(labels) == 1
    table = _table(labels[0])
    for heading in labels[1:]:
        table.add_column(heading, no_wrap=True, overflow="ellipsis", max_width=WIDEST_NAME)
    for heading in ("images", *(("busy",) if with_busy else ()), "idle", "total", "an image"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line, key, amounts in report.lines():
        words = _line_words(report, line, key)
        table.add_row(*(Text(word) for word in words), *_figures(amounts, with_busy=with_busy))
    total = ("total", *("" for _ in labels[1:]))
    table.add_row(*total, *_figures(report.total, with_busy=with_busy), style="bold")
    return table


def _label_headings(by: CostsBy) -> tuple[str, ...]:
    second = {CostsBy.BATCH: "name", CostsBy.WORKER: "device", CostsBy.DEVICE: "name"}
    heading = "day (UTC)" if by is CostsBy.DAY else by.value
    return (heading, second[by]) if by in second else (heading,)


def _line_words(report: CostReport, line: str, key: Key) -> tuple[str, ...]:
    if line == "group" and key[0] is not None:
        return _key_words(report.by, [str(word or "") for word in key])
    if report.others is not None and line == "others":
        word = _counted(report.others.groups, "other", "others")
    else:
        word = "idle, served nobody" if line == "idle_for_nobody" else NOTHING_OF[report.by]
    return (word, *("" for _ in _label_headings(report.by)[1:]))


def _key_words(by: CostsBy, words: Sequence[str]) -> tuple[str, ...]:
    if by is CostsBy.BATCH:
        return words[0][:ID_CHARACTERS], words[1]
    if by is CostsBy.WORKER:
        return words[0][:ID_CHARACTERS], f"{words[2]} {words[3]}".strip()
    if by is CostsBy.DEVICE:
        return f"{words[0]} {words[1]}".strip(), words[2]
    return (words[0],)


def _figures(amounts: Amounts, *, with_busy: bool) -> Iterator[str]:
    yield f"{amounts.images:,}"
    if with_busy:
        yield briefly(amounts.busy)
    yield briefly(amounts.idle)
    yield briefly(amounts.total)
    each = amounts.total_per_image
    yield "" if each is None else exactly(each)


def _went_for(report: CostReport) -> Table:
    """Write every kind; waste is always told."""
    table = _table("what for")
    for heading in ("cost", "per cent"):
        table.add_column(heading, justify="right", no_wrap=True)
    total = report.total.total
    waste = {each.kind: each.nanodollars for each in report.waste}
    for kind in LedgerKind:
        amount = report.total.of(kind).nanodollars
        if kind not in waste and amount:
            table.add_row(KIND_WORDS[kind], exactly(amount), _per_cent_of(amount, total))
    for kind, amount in waste.items():
        words = f"waste: {KIND_WORDS[kind]}"
        table.add_row(words, exactly(amount), _per_cent_of(amount, total))
    table.add_row("total", exactly(total), "", style="bold")
    return table


def print_job_costs(jobs: Iterable[JobCost]) -> int | None:
    """Write what each job has cost, a line each; there may be millions.

    Returns:
        The position of the last one; None if there is none.
    """
    last = None
    for job in jobs:
        amounts = f"{_device_time(job.device_ns):>14} {exactly(job.nanodollars):>14}"
        say(f"{job.position:>8} {job.state.value:<9}{amounts}  {job.custom_id or ''}".rstrip())
        last = job.position
    return last


def print_jobs_json(batch_id: UUID, page: Iterable[JobCost], rest: Iterator[JobCost]) -> None:
    """Write jobs as one JSON object, as they come.

    Args:
        batch_id: whose jobs.
        page: those that are wanted.
        rest: what comes after them: tells whether ``next`` is a position to go on after.
    """
    sys.stdout.write(f'{{\n  "batch_id": "{batch_id}",\n  "jobs": [')
    last = None
    for job in page:
        separator = "" if last is None else ","
        sys.stdout.write(f"{separator}\n    {json.dumps(job.to_json(), ensure_ascii=False)}")
        last = job.position
    more = None if next(rest, None) is None else last
    sys.stdout.write(f'\n  ],\n  "next": {json.dumps(more)}\n}}\n')
    sys.stdout.flush()


def exactly(nanodollars: int) -> str:
    """Write dollars to the nano-dollar."""
    return format_dollars(nanodollars, decimals=EXACT_DECIMALS)


def briefly(nanodollars: int) -> str:
    """Write dollars to the micro-dollar, for tables with many rows."""
    return format_dollars(nanodollars, decimals=BRIEF_DECIMALS)


def _table(heading: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1), collapse_padding=True)
    table.add_column(heading, overflow="fold")
    return table


def _device_time(nanoseconds: int) -> str:
    return f"{nanoseconds / NANOSECONDS:,.3f} s"


def _per_cent_of(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"
