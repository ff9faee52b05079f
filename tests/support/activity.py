"""What transactions noted, at moments of a test's own."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import insert

from shared.db.engine import Database
from shared.db.tables import Tally
from shared.db.tallies import FIGURES, fold_tallies
from shared.domain.identifiers import NOBODY, first_id_of
from shared.domain.jobs import LedgerKind
from support.factories import START, add_batch

BEGIN = START.replace(second=0)
"""Of a minute, and so of ten seconds."""
SECOND = timedelta(seconds=1)
RANDOM = Random(1)


class Done(NamedTuple):
    """What a transaction noted, at some time after `BEGIN`."""

    seconds: float
    batch_id: UUID = NOBODY
    done: int = 0
    failed: int = 0
    kind: LedgerKind | None = None
    nanodollars: int = 0
    worker_id: UUID | None = None
    device_seconds: float = 0


def append(database: Database, *noted: Done) -> None:
    """Append tallies as if their transactions had been at those times."""
    rows = [
        {
            **dict.fromkeys(FIGURES, 0),
            "id": UUID(int=first_id_of(at(one.seconds)).int | 7 << 76 | RANDOM.getrandbits(76)),
            "batch_id": one.batch_id,
            "done": one.done,
            "failed": one.failed,
            "pending": -one.done - one.failed,
            "worker_id": one.worker_id,
            "kind": one.kind,
            "day": one.kind and BEGIN.date(),
            "entries": int(one.kind is not None),
            "device_ns": int(one.device_seconds * 1_000_000_000),
            "nanodollars": one.nanodollars,
            "least_nanodollars": one.kind and one.nanodollars,
            "most_nanodollars": one.kind and one.nanodollars,
        }
        for one in noted
    ]
    with database.write() as session:
        session.execute(insert(Tally), rows)


def at(seconds: float) -> datetime:
    """Return a moment so many seconds after `BEGIN`."""
    return BEGIN + seconds * SECOND


def fold(database: Database) -> int:
    """Fold all that was appended; returns how many."""
    with database.write() as session:
        return fold_tallies(session)


def new_batch(database: Database) -> UUID:
    """Make a batch without jobs."""
    with database.write() as session:
        return add_batch(session, jobs=0).id
