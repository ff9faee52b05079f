"""A plan as a person reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from producer.cli.console import complain, print_rich, say
from producer.plan_words import decimals_of, dollars, duration, fleet_name, offer_name
from shared.domain.money import (
    NANODOLLAR_DECIMALS,
    NANOSECONDS,
    format_dollars,
    share_by_weight,
)

if TYPE_CHECKING:
    from rich.table import Table

    from producer.plan_offers import OnOffer
    from producer.planning.fleet import Fleet
    from producer.planning.plan import Plan, Remedy
    from producer.prompt_shapes import CountedPrompts

MOST_KINDS = 5
MOST_SHAPES = 5
EXAMPLE = "*"
PRICE_DECIMALS = 4


def print_plan(plan: Plan, model: str, on_offer: OnOffer, now: datetime) -> None:
    """Write what to hire, what else could be done, and what it goes by."""
    _print_work(plan, model)
    fleet, remedy = plan.fleet or plan.soonest, plan.remedy
    if plan.fleet is None:
        say(f"no fleet can draw that within {duration(plan.deadline_ns)}; the soonest possible:")
    elif remedy is not None and plan.budget is not None:
        say(
            f"the cheapest fleet for it within {duration(plan.deadline_ns)} costs "
            f"{dollars(fleet.nanodollars)}, more than {dollars(plan.budget)}:"
        )
    _print_fleet(fleet, plan.work.total)
    facts = list(_finish(plan, fleet, now))
    if remedy is not None and plan.budget is not None:
        facts += _within_budget(remedy, plan.budget, plan.work.total)
    _print_facts(facts)
    _print_alternatives(plan)
    _print_notes(on_offer)


def print_left_out_lines(prompts: CountedPrompts) -> None:
    """List the lines that cannot be drawn on stderr, the first 20 of them."""
    rejects = prompts.rejects
    for line in rejects.first:
        complain(line.describe(rejects.source))
    if rejects.count:
        lines = "line is" if rejects.count == 1 else "lines are"
        complain(f"{rejects.count:,} {lines} not planned for: bad")


def _print_work(plan: Plan, model: str) -> None:
    images = "1 image" if plan.work.total == 1 else f"{plan.work.total:,} images"
    say(f"{images} of {model}")
    shapes = sorted(plan.work.images.items(), key=lambda pair: -pair[1])
    for shape, count in shapes[:MOST_SHAPES]:
        guidance = "with guidance" if shape.is_guided else "without guidance"
        size = f"{shape.width}x{shape.height} pixels"
        say(f"  {count:,} of {size}, {shape.iterations} iterations, {guidance}")
    if len(shapes) > MOST_SHAPES:
        rest = sum(count for _, count in shapes[MOST_SHAPES:])
        say(f"  {rest:,} of {len(shapes) - MOST_SHAPES:,} other shapes")


def _print_fleet(fleet: Fleet, total: int) -> None:
    from rich.text import Text

    decimals = decimals_of(fleet.nanodollars)
    rates = [hired.devices * NANOSECONDS / hired.image_ns for hired in fleet.hired]
    table = _table(has_footer=len(fleet.hired) > 1)
    devices = "1 device" if fleet.devices == 1 else f"{fleet.devices:,} devices"
    table.add_column("fleet", footer=devices, overflow="fold")
    for heading, footer in (
        ("each an hour", ""),
        ("images/s", _rate(sum(rates))),
        ("share", _share(total, total)),
        ("cost", format_dollars(fleet.nanodollars, decimals=decimals)),
    ):
        table.add_column(heading, footer=footer, justify="right", no_wrap=True)
    table.add_column("rate", no_wrap=True)
    costs = _costs(fleet, decimals)
    for hired, rate, cost in zip(fleet.hired, rates, costs, strict=True):
        offer = hired.offer
        price = format_dollars(offer.nanodollars_per_hour, decimals=PRICE_DECIMALS)
        table.add_row(
            Text(f"{hired.devices:,} x {offer_name(offer)}"),
            f"{price}{EXAMPLE if offer.is_example else ''}",
            _rate(rate),
            _share(hired.images, total),
            cost,
            offer.basis.value,
        )
    print_rich(table)


def _costs(fleet: Fleet, decimals: int) -> Sequence[str]:
    """Round the parts so that they add up to the rounded sum."""
    unit = 10 ** (NANODOLLAR_DECIMALS - decimals)
    weights = [hired.nanodollars for hired in fleet.hired]
    units = (fleet.nanodollars + unit // 2) // unit
    parts = share_by_weight(units, weights) if any(weights) else weights
    return [format_dollars(part * unit, decimals=decimals) for part in parts]


def _print_facts(facts: Iterable[tuple[str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, fact in facts:
        table.add_row(name, Text(fact))
    print_rich(table)


def _finish(plan: Plan, fleet: Fleet, now: datetime) -> Iterator[tuple[str, str]]:
    from producer.plan_json import finish_at

    clock = f"{finish_at(now, fleet):%a %d %b %H:%M} UTC"
    yield "finish", f"{duration(fleet.finish_ns)} after the start; started now, {clock}"
    late_ns = plan.late_finish_ns
    if late_ns is not None:
        over_ns = late_ns - plan.deadline_ns
        over = f", {duration(over_ns)} late" if over_ns > 0 else ""
        yield "at worst", f"{duration(late_ns)}, if images take as long as they may{over}"
    yield "an image", f"{dollars(fleet.nanodollars // plan.work.total)} on average"


def _within_budget(remedy: Remedy, budget: int, total: int) -> Iterator[tuple[str, str]]:
    bought = remedy.bought
    if bought is not None:
        where = f"on 1 x {offer_name(bought.offer)} in {duration(bought.finish_ns)}"
        yield f"{dollars(budget)} buys", f"{bought.images:,} of {total:,} images, {where}"
    if remedy.soonest is not None:
        yield f"within {dollars(budget)}", f"at the soonest: {_line(remedy.soonest)}"
    yield "no deadline", f"at the cheapest: {_line(remedy.cheapest)}"


def _line(fleet: Fleet) -> str:
    cost = dollars(fleet.nanodollars)
    return f"{fleet_name(fleet)}: {cost}, {duration(fleet.finish_ns)}"


def _print_alternatives(plan: Plan) -> None:
    rows = list(_alternatives(plan))
    if not rows:
        return
    from rich.text import Text

    decimals = decimals_of(max(fleet.nanodollars for _, fleet in rows))
    table = _table(has_footer=False)
    table.add_column("instead", no_wrap=True)
    table.add_column("fleet", overflow="fold")
    table.add_column("finish", justify="right", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    for why, fleet in rows:
        cost = format_dollars(fleet.nanodollars, decimals=decimals)
        table.add_row(why, Text(fleet_name(fleet)), duration(fleet.finish_ns), cost)
    say("")
    print_rich(table)


def _alternatives(plan: Plan) -> Iterator[tuple[str, Fleet]]:
    """Yield the cheapest fleets of one kind, and those by somewhat other deadlines."""
    chosen = plan.fleet or plan.soonest
    for fleet in plan.by_kind[:MOST_KINDS]:
        if fleet != chosen:
            yield "one kind", fleet
    for fleet in plan.nearest:
        yield "sooner" if fleet.finish_ns < chosen.finish_ns else "cheaper", fleet


def _print_notes(on_offer: OnOffer) -> None:
    from rich.text import Text

    notes = list(_notes(on_offer))
    if notes:
        say("")
    for note in notes:
        print_rich(Text(note))


def _notes(on_offer: OnOffer) -> Iterator[str]:
    from producer.plan_offers import by_reason

    if any(offer.is_example for offer in on_offer.offers):
        yield f"{EXAMPLE} an example price that came with tenstep"
    bases = {offer.basis.value for offer in on_offer.offers}
    if "guess" in bases:
        yield "guess: scaled from images of another shape, which may be off by a factor of 2"
    if "declared" in bases:
        yield "declared: by somebody's word, not measured"
    for reason, names in by_reason(on_offer.left_out).items():
        yield f"not considered: {', '.join(names)}: {reason}"


def _table(*, has_footer: bool) -> Table:
    from rich.table import Table

    return Table(box=None, pad_edge=False, show_footer=has_footer)


def _rate(images_per_second: float) -> str:
    return f"{images_per_second:,.3g}" if images_per_second < 1000 else f"{images_per_second:,.0f}"  # noqa: PLR2004 - three digits are enough


def _share(images: int, total: int) -> str:
    return f"{images / total:.1%}"
