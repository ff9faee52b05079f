"""The life of a batch that was asked for over HTTP, in OpenAI's words."""

from __future__ import annotations

from enum import StrEnum


class RequestState(StrEnum):
    """Where it is."""

    VALIDATING = "validating"
    """Its file is being read, and jobs are written."""
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    """Its jobs have ended; the files of results are being written."""
    COMPLETED = "completed"
    FAILED = "failed"
    """None of its lines could be taken."""
    EXPIRED = "expired"
    """Its time was over before all was drawn; what is drawn is in its results."""
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


REQUEST_ENDS = frozenset(
    {RequestState.COMPLETED, RequestState.FAILED, RequestState.EXPIRED, RequestState.CANCELLED}
)
