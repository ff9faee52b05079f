"""How many jobs came in a chunk lately.

The books have every attempt: of ten million they cannot be counted whenever somebody asks. So
this is of the latest, found by their keys, which sort by time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.tables import Attempt

LATEST = 3_000
"""Attempts that are looked at."""


def read_chunk_jobs(session: Session) -> Mapping[str, float]:
    """Return how many jobs a chunk had that was claimed, on average, by device kind."""
    latest = select(Attempt.device_kind, Attempt.chunk_id).order_by(Attempt.id.desc()).limit(LATEST)
    jobs: defaultdict[str, int] = defaultdict(int)
    chunks: defaultdict[str, set[UUID]] = defaultdict(set)
    for kind, chunk_id in session.execute(latest):
        if chunk_id is not None:
            jobs[kind] += 1
            chunks[kind].add(chunk_id)
    return {kind: count / len(chunks[kind]) for kind, count in sorted(jobs.items())}
