"""Which sizes of images live workers draw: a backend may be compiled for a few of them alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta

from shared.db.engine import Database
from shared.db.fleet import live_workers
from shared.db.tables import Worker

Size = tuple[int, int]
"""Width and height in pixels."""
Sizes = frozenset[Size] | None
"""None is any."""
MOST_SHOWN = 8
"""Sizes that a message names."""


def sizes_of(worker: Worker) -> Sizes:
    """Return the sizes that a worker can draw."""
    if worker.sizes is None:
        return None
    return frozenset((width, height) for width, height in worker.sizes)


def drawn_by_all(workers: Iterable[Worker]) -> Sizes:
    """Return the sizes that each of some workers can draw.

    Who takes the next message of a queue is anybody's guess, so it has to be one that all of
    its readers can draw.
    """
    common: Sizes = None
    for sizes in map(sizes_of, workers):
        if sizes is not None:
            common = sizes if common is None else common & sizes
    return common


def drawn_by_any(workers: Sequence[Worker]) -> Sizes:
    """Return the sizes that one of some workers can draw; any size if there are no workers."""
    found = [sizes for worker in workers if (sizes := sizes_of(worker)) is not None]
    if not workers or len(found) < len(workers):
        return None
    return frozenset().union(*found)


def live_sizes(database: Database, model: str, silence: timedelta) -> Sizes:
    """Return the sizes that live workers with a model can draw; without them nobody can tell."""
    with database.read() as session:
        alive = live_workers(session, database.now(session), silence)
        return drawn_by_any([worker for worker in alive if worker.model == model])


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
