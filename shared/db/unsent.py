"""The order of unsent jobs: of ten million perhaps all, found by one index and never sorted."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.db.tables import Job

UNSENT_ORDER = (Job.batch_id, Job.not_before, Job.position)
"""The order of the index of unsent jobs; no other index has it."""


def keep_to_index_order(session: Session) -> None:
    """Have Postgres find unsent jobs by the index that has them in order, in this transaction.

    Before it has counted a new batch of millions it takes it for small, and would rather
    read and sort it.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL enable_sort = off"))
