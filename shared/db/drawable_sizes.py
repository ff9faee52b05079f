"""Which sizes of images live workers draw: a backend may be compiled for a few of them alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from shared.db.engine import Database
from shared.db.fleet import live_models
from shared.db.served_models import Served, of_model
from shared.domain.sizes import Sizes


def sizes_of(served: Served) -> Sizes:
    """Return the sizes that a worker can draw by a model."""
    if served.sizes is None:
        return None
    return frozenset((width, height) for width, height in served.sizes)


def drawn_by_all(workers: Iterable[Served]) -> Sizes:
    """Return the sizes that each of some workers can draw.

    Who takes the next message of a queue is anybody's guess, so it has to be one that all of
    its readers can draw.
    """
    common: Sizes = None
    for sizes in map(sizes_of, workers):
        if sizes is not None:
            common = sizes if common is None else common & sizes
    return common


def drawn_by_any(workers: Sequence[Served]) -> Sizes:
    """Return the sizes that one of some workers can draw; any size if there are no workers."""
    found = [sizes for worker in workers if (sizes := sizes_of(worker)) is not None]
    if not workers or len(found) < len(workers):
        return None
    return frozenset().union(*found)


def live_sizes(database: Database, model: str, silence: timedelta) -> Sizes:
    """Return the sizes that live workers of a model can draw; without them nobody can tell."""
    with database.read() as session:
        alive = live_models(session, database.now(session), silence)
        return drawn_by_any(of_model(alive, model))
