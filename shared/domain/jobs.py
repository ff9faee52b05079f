"""The life of a job, as one table of legal moves."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class JobState(StrEnum):
    """Where a job is. For every batch the counts of these add up to its total."""

    PENDING = "pending"
    """Waits for a worker."""
    LEASED = "leased"
    """A worker has it, until its lease ends."""
    DONE = "done"
    """Its image is in the store and in the books."""
    FAILED = "failed"
    """Will not be tried again unless asked."""
    CANCELLED = "cancelled"
    """Somebody called it off."""
    HELD = "held"
    """Waits for a decision: an approval, a budget."""


TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.PENDING: frozenset({JobState.LEASED, JobState.CANCELLED, JobState.HELD}),
    JobState.LEASED: frozenset(
        {JobState.DONE, JobState.FAILED, JobState.PENDING, JobState.CANCELLED}
    ),
    JobState.HELD: frozenset({JobState.PENDING, JobState.CANCELLED}),
    JobState.FAILED: frozenset({JobState.PENDING}),
    JobState.CANCELLED: frozenset({JobState.PENDING}),
    JobState.DONE: frozenset(),
}
"""From each state, where a job may go. Every write to ``job.state`` is one of these."""

FINAL_STATES = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})


def origins(target: JobState) -> frozenset[JobState]:
    """Return the states from which a job may move to ``target``."""
    return frozenset(state for state, targets in TRANSITIONS.items() if target in targets)


class AttemptOutcome(StrEnum):
    """How one try at one job ended."""

    RUNNING = "running"
    """Not ended yet."""
    DONE = "done"
    """Its image is the job's image."""
    FAILED = "failed"
    """It ended with an error."""
    LOST = "lost"
    """Its worker stopped renewing the lease."""
    RETURNED = "returned"
    """Its worker gave the job back before drawing it."""
    CANCELLED = "cancelled"
    """The job was called off under way."""


DEFAULT_TENANT = "default"

CONTENT_FLAGGED = "content_flagged"
"""The error of a job whose image the model's safety checker held back."""
WORKER_LOST = "worker_lost"
"""The error of an attempt whose worker stopped renewing the lease."""
STORE_UNAVAILABLE = "store_unavailable"
"""The error of an attempt whose image could not be stored for longer than the worker waits."""


class BatchControl(StrEnum):
    """What the owner of a batch last asked for."""

    ACTIVE = "active"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class HeldFor(StrEnum):
    """What a held job waits for, where that is not an approval."""

    BUDGET = "budget"


class LedgerKind(StrEnum):
    """What an entry in the books pays for."""

    RENDER = "render"
    """Device time of an attempt that gave the job its image."""
    FAILED_ATTEMPT = "failed_attempt"
    """Device time of an attempt that gave nothing."""
    DUPLICATE = "duplicate"
    """More of the device time of an attempt that was given up too early: its image came late."""
    MODEL_LOAD = "model_load"
    """Device time of loading and warming up a model."""
    IDLE = "idle"
    """All the other time that a device was held: starting, waiting, and what rounding leaves."""
    STORAGE = "storage"
    """A day of keeping images."""
    REQUESTS = "requests"
    """Writing images to the store."""
    CORRECTION = "correction"
    """The difference that a price makes which was set after the fact."""


WASTE = frozenset({LedgerKind.FAILED_ATTEMPT, LedgerKind.DUPLICATE, LedgerKind.IDLE})
"""Kinds that no image came of."""

ON_DEVICE = (
    LedgerKind.RENDER,
    LedgerKind.FAILED_ATTEMPT,
    LedgerKind.DUPLICATE,
    LedgerKind.MODEL_LOAD,
)
"""Kinds that are a batch's own time on a device."""
