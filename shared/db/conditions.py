"""Conditions on jobs, each with an index of its own.

The state is a literal in them, not a bound value: SQLite does not see that an index with a
condition serves a query whose value it is told only later, and reads the whole table.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, false, literal, true

from shared.db.tables import Job
from shared.domain.jobs import HeldFor, JobState


def _is(state: JobState) -> ColumnElement[bool]:
    return Job.state == literal(state.value, literal_execute=True)


IS_PENDING = _is(JobState.PENDING)
"""Waits for a worker."""
IS_UNSENT = and_(_is(JobState.PENDING), Job.chunk_id.is_(None))
"""Waits for the dispatcher: of ten million jobs perhaps all."""
IS_SENT = and_(_is(JobState.PENDING), Job.chunk_id.is_not(None))
"""Its chunk waits in a queue: a few for each worker, however large the batch."""
IS_LEASED = _is(JobState.LEASED)
"""Is in a worker's hands."""
IS_DONE = _is(JobState.DONE)
"""Its image is in the store."""
IS_FAILED = _is(JobState.FAILED)
"""Will not be tried again unless asked."""
IS_HELD = _is(JobState.HELD)
"""Waits for an approval, or for money."""
IS_OVER_BUDGET = Job.held_for == literal(HeldFor.BUDGET.value, literal_execute=True)
"""Is held until there is money for it."""


def of_batch(batch_id: UUID) -> ColumnElement[bool]:
    """Return whether a job is of a batch, for jobs that another condition's index finds.

    Plainly compared, SQLite would read the whole batch rather than the few that are under way.
    """
    return case((Job.batch_id == batch_id, true()), else_=false())
