"""Whether an error is worth another attempt: a decision, not an action."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from shared.domain.jobs import STORE_UNAVAILABLE
from shared.errors import (
    DeviceFaultError,
    PermanentRenderError,
    RenderError,
    ServiceUnavailableError,
    TransientRenderError,
)

FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 60.0
NO_ROOM = (
    "out of memory",
    "failed to allocate memory",
    "can't allocate memory",
    "status_alloc_failed",  # cuBLAS and cuDNN, which allocate for themselves
)


class DeviceLostError(Exception):
    """Nothing can be drawn any more in this process, whatever the job."""


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """What to do with a job whose attempt ended in an error."""

    code: str
    message: str
    delay_seconds: float | None
    """Until the next attempt; None fails the job now."""


def decide(error: Exception, attempts: int, max_attempts: int, random: Random) -> RetryDecision:
    """Classify an error after ``attempts`` attempts, this one among them.

    The delay doubles with every attempt, with full jitter, so that a fleet that failed
    together does not come back together.
    """
    code, is_permanent = classify(error)
    message = str(error) or type(error).__name__
    if is_permanent or attempts >= max_attempts:
        return RetryDecision(code, message, None)
    ceiling = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (attempts - 1))
    return RetryDecision(code, message, random.uniform(0, ceiling))


def classify(error: Exception) -> tuple[str, bool]:
    """Return an error's code and whether it will happen again."""
    match error:
        case PermanentRenderError():
            return error.code, True
        case TransientRenderError() | RenderError():
            return error.code, False
        case ServiceUnavailableError():
            return STORE_UNAVAILABLE, False
        case _ if is_out_of_memory(error):
            return "out_of_memory", False
        case ValueError():
            return "bad_settings", True
        case _:
            return "unexpected", False


def is_device_lost(error: Exception) -> bool:
    """Tell whether a device, or its driver, refuses all further work in this process.

    On CUDA a kernel that reads where it must not is enough, and so is a fault of the memory.
    """
    if isinstance(error, DeviceLostError | DeviceFaultError):
        return True
    return type(error).__name__ == "AcceleratorError" and not is_out_of_memory(error)


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether a device, or this host, had no room: each runtime says so in its own way."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in NO_ROOM)
