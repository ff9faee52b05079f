"""Sizes of images, where a backend is compiled for a few of them alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

Size = tuple[int, int]
"""Width and height in pixels."""
Sizes = frozenset[Size] | None
"""None is any."""
MOST_SHOWN = 8
"""Sizes that a message names."""


def as_sizes(listed: Sequence[Sequence[int]] | None) -> Sizes:
    """Return sizes as they are listed, each a width and a height; None is any."""
    return None if listed is None else frozenset((width, height) for width, height in listed)


def common_sizes(of_workers: Iterable[Sizes]) -> Sizes:
    """Return the sizes that each of some workers can draw.

    Who takes the next message of a queue is anybody's guess, so it has to be one that all of
    its readers can draw.
    """
    common: Sizes = None
    for sizes in of_workers:
        if sizes is not None:
            common = sizes if common is None else common & sizes
    return common


def cannot_draw(wanted: Collection[Size], drawn: Collection[Size]) -> str:
    """Say that live workers cannot draw some sizes, and what they can.

    Args:
        wanted: the sizes that they cannot draw, at least one.
        drawn: those that they can.
    """
    can = f"they draw {_listed(drawn)}" if drawn else "they have no size in common"
    return f"no worker that is alive can draw images of {_listed(wanted)}: {can}"


def how_to_compile(model: str, size: Size) -> str:
    """Say how a size becomes one that workers can draw."""
    width, height = size
    command = f"tenstep model compile {model} --target qaic --size {width}x{height}"
    return f"{command} makes it one that they can"


def _listed(sizes: Collection[Size]) -> str:
    shown = [f"{width} x {height}" for width, height in sorted(sizes)[:MOST_SHOWN]]
    more = [f"{len(sizes) - MOST_SHOWN:,} more"] if len(sizes) > MOST_SHOWN else []
    return ", ".join([*shown, *more])
