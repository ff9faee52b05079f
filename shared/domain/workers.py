"""What can be said of a worker."""

from __future__ import annotations

from enum import StrEnum


class WorkerState(StrEnum):
    """Whether a worker takes jobs, and if not, why."""

    READY = "ready"
    """It takes jobs."""
    DRAINED = "drained"
    """It finishes what is in its device and takes none until somebody resumes it."""
    STOPPING = "stopping"
    """Its process was told to stop: it finishes what is in its device and ends."""
    SILENT = "silent"
    """It gave no sign of life for as long as a lease lasts, or does not poll its queue."""
    ENDED = "ended"
