"""Traces: off, and nothing of them imported, unless a process switches them on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from shared.telemetry.recorder import Recorder

TRACEPARENT = "traceparent"
"""Name of the header that carries a span's context (W3C Trace Context)."""
TRACEPARENT_CHARACTERS = 55
PRODUCER, WORKER = "tenstep", "tenstep-worker"
"""What processes call themselves."""
VALID = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

_recorder: Recorder | None = None


def start_traces(service: str, *, is_on: bool) -> None:
    """Have this process record spans from now on, if that is switched on.

    Where they go, and how many are taken, say the standard variables ``OTEL_*``.

    Args:
        service: what the process calls itself, unless ``OTEL_SERVICE_NAME`` does.
        is_on: whether it is.

    Raises:
        ConfigurationError: what is needed is not installed, or cannot be set up as it was asked.
    """
    global _recorder  # noqa: PLW0603 - one a process, as the standard has it
    if not is_on or _recorder is not None:
        return
    try:
        from shared.telemetry.recorder import open_recorder
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"TENSTEP_TRACES is set, and what sends traces is not installed: {error.name}",
            hint="pip install 'tenstep[telemetry]' brings it.",
        ) from None
    _recorder = open_recorder(service)


def active_recorder() -> Recorder | None:
    """Return what records spans; None while that is off."""
    return _recorder


def valid_traceparent(text: str | None) -> str | None:
    """Return a header of a request if it is one that names a span; else None."""
    return text if text is not None and VALID.fullmatch(text) else None
