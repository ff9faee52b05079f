"""What ``tenstep quote`` and ``submit`` show of expected costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from producer.cli.console import complain, print_rich, say
from shared.domain.money import NANOSECONDS, NANOSECONDS_PER_HOUR, format_dollars

if TYPE_CHECKING:
    from fractions import Fraction

    from producer.prompt_shapes import CountedPrompts
    from producer.quote import Bought, Quote, Rated
    from producer.rejects import Rejects
    from shared.domain.rates import Basis, Shape

MOST_SHAPES_SHOWN = 5
MINUTE, HOUR = 60, 3600
LONG_HOURS = 10
WHOSE = {"asked": "", "live": ", the workers that are alive", "one_device": ""}


def counted(images: int) -> str:
    """Say ``1 image`` or ``1,234 images``."""
    return "1 image" if images == 1 else f"{images:,} images"


def basis_words(basis: Basis, measured: int) -> str:
    """Say what a quote goes by: images that were measured, somebody's word, or a guess."""
    from shared.domain.rates import Basis

    if basis is Basis.MEASURED:
        return f"measured on {counted(measured)}"
    if basis is Basis.DECLARED:
        return "declared by somebody, not measured"
    known_from = f"{counted(measured)} of other shapes" if measured else "a declared rate"
    return f"a GUESS, scaled from {known_from}; it may be half or twice as much"


def print_expected(quote: Mapping[str, Any]) -> None:
    """Say in a line what a batch that was submitted is expected to cost."""
    from shared.domain.rates import Basis

    low, expected, high = (
        format_dollars(quote[f"nanodollars_{level}"]) for level in ("low", "expected", "high")
    )
    words = basis_words(Basis(quote["basis"]), quote["measured_images"])
    say(f"expected to cost {expected} ({low} to {high}) on {quote['device']}: {words}")


def print_left_out(rejects: Rejects) -> None:
    """List the lines that would not be drawn on stderr: the first 20 of them."""
    for line in rejects.first:
        complain(line.describe(rejects.source))
    left = rejects.count - len(rejects.first)
    if left:
        complain(f"and {left:,} more")
    if rejects.count:
        lines = "line is" if rejects.count == 1 else "lines are"
        complain(f"{rejects.count:,} {lines} bad and not in the quote")


def print_quotes(
    quotes: Sequence[Quote],
    prompts: CountedPrompts,
    model: str,
    rated: Mapping[Bought, Rated],
    waste: Fraction,
) -> None:
    """Write what the images are, and what they cost on each fleet."""
    say(f"{counted(prompts.total)} of {model}")
    for line in _shape_lines(prompts.images):
        say(f"  {line}")
    share = format_dollars(int(waste * 10**9), decimals=4)
    say(f"attempts without an image have cost {share} for every dollar of images so far")
    for quote in quotes:
        say("")
        _print_quote(quote, rated)


def _shape_lines(images: Mapping[Shape, int]) -> Iterator[str]:
    most_first = sorted(images.items(), key=lambda shape_and_count: -shape_and_count[1])
    for shape, count in most_first[:MOST_SHAPES_SHOWN]:
        guidance = "guidance" if shape.is_guided else "no guidance"
        size = f"{shape.width} x {shape.height} pixels"
        yield f"{count:,} of {size}, {shape.iterations} iterations, {guidance}"
    others = most_first[MOST_SHAPES_SHOWN:]
    if others:
        yield f"{sum(count for _, count in others):,} of {len(others):,} other shapes"


def _print_quote(quote: Quote, rated: Mapping[Bought, Rated]) -> None:
    from rich.table import Table

    say(f"{quote.fleet.name}{WHOSE[quote.fleet.origin]}")
    for bought in quote.fleet.bought:
        say(f"  {_priced(' '.join(bought).rstrip(), rated[bought])}")
    say(f"  {basis_words(quote.basis, quote.measured_images)}")
    if 0 < quote.guessed_images < quote.images:
        say(f"  never measured is the shape of {counted(quote.guessed_images)}")
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("low", "expected", "high"):
        table.add_column(heading, justify="right", no_wrap=True)
    amounts = {
        "  images": quote.render,
        "  waste": quote.waste,
        "  model loads": quote.model_loads,
        "  cost": quote.total,
        "  fully loaded": quote.fully_loaded,
    }
    for name, amount in amounts.items():
        table.add_row(name, *(format_dollars(part) for part in amount))
    table.add_row("  device-hours", *(_hours(part) for part in quote.device_ns))
    table.add_row("  done after", *(span(part) for part in quote.finish_ns))
    print_rich(table)


def _priced(name: str, rated: Rated) -> str:
    dollars = format_dollars(rated.nanodollars_per_hour)
    example = ", an example price that came with tenstep" if rated.is_example else ""
    return f"{dollars} an hour of {name}{example}"


def _hours(nanoseconds: int) -> str:
    hours = nanoseconds / NANOSECONDS_PER_HOUR
    return f"{hours:.4f}" if hours < LONG_HOURS else f"{hours:,.1f}"


def span(nanoseconds: int) -> str:
    """Write a time as people read it: ``12.3 s``, ``45.6 min``, ``78.9 h``."""
    seconds = nanoseconds / NANOSECONDS
    if seconds < 2 * MINUTE:
        return f"{seconds:.1f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.1f} min"
    return f"{seconds / HOUR:,.1f} h"
