"""How long phases of images took, added up by who has drawn them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db.adding import add_to_rows
from shared.db.phase_tables import PhaseTime
from shared.domain.phases import PhaseBucket, PhaseSum, PhaseSums

SHARES = 64
"""Rows of each sum: of ten thousand workers that write every 30 s, five a second share one."""


class Drawing(NamedTuple):
    """What draws images."""

    device_kind: str
    model: str


def record_phases(
    session: Session, worker_id: UUID, measured: Iterable[tuple[Drawing, PhaseSums]]
) -> None:
    """Add what a process has measured since the last time.

    Best done last in a transaction, once: others may wait for its rows.

    Args:
        session: writes.
        worker_id: one of its workers, always the same: it decides which share is added to.
        measured: what has drawn, of each of its devices, and what that took.
    """
    together: dict[tuple[Drawing, PhaseBucket], PhaseSum] = {}
    for drawing, buckets in measured:
        for bucket, sums in buckets.items():
            known = together.get((drawing, bucket))
            together[drawing, bucket] = sums if known is None else known + sums
    share = worker_id.int % SHARES
    rows = [
        {"share": share, **drawing._asdict(), **bucket._asdict(), **sums._asdict()}
        for (drawing, bucket), sums in together.items()
    ]
    add_to_rows(session, PhaseTime, rows)


def read_phases(session: Session) -> Mapping[Drawing, PhaseSums]:
    """Add up all that was ever measured: it never becomes less."""
    key = (PhaseTime.device_kind, PhaseTime.model, PhaseTime.phase, PhaseTime.most_ns)
    sums = (func.sum(PhaseTime.images), func.sum(PhaseTime.nanoseconds))
    found: defaultdict[Drawing, dict[PhaseBucket, PhaseSum]] = defaultdict(dict)
    for *drawing, phase, most_ns, images, nanoseconds in session.execute(
        select(*key, *sums).group_by(*key)
    ):
        bucket = PhaseBucket(phase, most_ns)
        found[Drawing(*drawing)][bucket] = PhaseSum(int(images), int(nanoseconds))
    return found
