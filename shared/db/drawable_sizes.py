"""Which sizes of images live workers draw: a backend may be compiled for a few of them alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from shared.db.engine import Database
from shared.db.fleet import live_models
from shared.db.served_models import Served, of_model
from shared.domain.sizes import Sizes, as_sizes


def drawn_by_any(workers: Sequence[Served]) -> Sizes:
    """Return the sizes that one of some workers can draw; any size if there are no workers."""
    found = [sizes for one in workers if (sizes := as_sizes(one.sizes)) is not None]
    if not workers or len(found) < len(workers):
        return None
    return frozenset().union(*found)


def live_sizes(database: Database, model: str, silence: timedelta) -> Sizes:
    """Return the sizes that live workers of a model can draw; without them nobody can tell."""
    with database.read() as session:
        alive = live_models(session, database.now(session), silence)
        return drawn_by_any(of_model(alive, model))
