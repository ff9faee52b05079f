"""The modules of a member in the order in which they run, and how many rows each is given.

With guidance each image is two rows: one with its prompt, one without. What lies before the
first transformer does not know the text, and a U-Net-NAS computes it once for both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product, zip_longest
from typing import NamedTuple

from training.search.family import Kind, Member, Part
from training.search.space import Space

PAIR = 2
"""Rows of an image that has met its texts."""
ONE_ROW = 1


class Step(NamedTuple):
    """A part, and the rows of an image that go into it; the text always has two."""

    part: Part
    rows: int


def steps(member: Member, side: int, *, shares_rows: bool) -> Counter[Step]:
    """Count what runs for one guided prediction, on latents of so many positions a side.

    Args:
        member: its parts are those of `Member.parts`.
        side: positions to the side.
        shares_rows: whether what lies before the first transformer is run once for both rows of
            an image; else there are two rows everywhere.
    """
    found: Counter[Step] = Counter()
    rows = ONE_ROW if shares_rows else PAIR
    for part, is_outermost in in_order(member, side):
        if is_outermost:
            rows = PAIR
        found[Step(part, PAIR if part.kind is Kind.TRUNK else rows)] += 1
        if part.kind is Kind.TRANSFORMER:
            rows = PAIR
    return found


def in_order(member: Member, side: int) -> Iterator[tuple[Part, bool]]:
    """Yield a member's parts as they run, and whether each is of the outermost up block."""
    base = before = member.channels[0]
    bottom = len(member.channels) - 1
    yield Part(Kind.TRUNK, base, base, side), False
    for level, width in enumerate(member.channels):
        widths = [before] + [width] * (member.resnets[level] - 1)
        for part in _block(widths, width, member.down_attentions[level], side):
            yield part, False
        if level < bottom or member.halves_bottom:
            yield Part(Kind.DOWNSAMPLER, width, width, side), False
            side //= 2
        before = width
    for part in _middle(member, side):
        yield part, False
    if member.halves_bottom:
        side *= 2
    for level in range(bottom, -1, -1):
        for part in _up_block(member, level, side):
            yield part, level == 0
        if level:
            width = member.channels[level]
            yield Part(Kind.UPSAMPLER, width, width, side), False
            side *= 2


def reads_text(member: Member) -> bool:
    """Tell whether any module of a member meets the text."""
    return any((*member.attentions, member.mid_attentions))


def steps_of(space: Space, *, shares_rows: bool) -> list[Step]:
    """Return all that may run in a member of a space, in an order that is always the same."""
    levels = len(space.widths)
    most = 2 * space.max_resnets + 1
    found: set[Step] = set()
    # A member with one attention at a level has it on the way up: its way down is still plain.
    for widths in product(*space.widths):
        largest = replace(space.largest(), channels=widths)
        for attentions in product({0, 1, most}, repeat=levels):
            for in_middle in (0, space.max_mid_resnets + 1):
                for halves in space.halves_bottom:
                    member = replace(
                        largest,
                        attentions=attentions,
                        mid_attentions=in_middle,
                        halves_bottom=halves,
                    )
                    found.update(steps(member, space.trunk.side, shares_rows=shares_rows))
    return sorted(found)


def _block(widths: list[int], width: int, attentions: int, side: int) -> Iterator[Part]:
    resnets = [Part(Kind.RESNET, before, width, side) for before in widths]
    transformers = [Part(Kind.TRANSFORMER, width, width, side)] * attentions
    for pair in zip_longest(resnets, transformers):
        yield from (part for part in pair if part is not None)


def _middle(member: Member, side: int) -> Iterator[Part]:
    width = member.channels[-1]
    yield Part(Kind.RESNET, width, width, side)
    yield from _block([width] * (1 + member.mid_resnets), width, member.mid_attentions, side)
    if member.halves_bottom:
        yield Part(Kind.UPSAMPLER, width, width, side)


def _up_block(member: Member, level: int, side: int) -> Iterator[Part]:
    width, resnets = member.channels[level], member.resnets[level]
    below = member.channels[min(level + 1, len(member.channels) - 1)]
    above = member.channels[max(level - 1, 0)]
    hidden = [below] + [width] * resnets
    skips = [width] * resnets + [above]
    attentions = member.attentions[level] - member.down_attentions[level]
    return _block(
        [one + other for one, other in zip(hidden, skips, strict=True)], width, attentions, side
    )
