"""Every error that tenstep raises on purpose.

TenstepError
├── InputError              what the user gave is wrong: say which field, line, file
├── ConfigurationError      a setting is wrong or asks for something not installed
├── ServiceUnavailableError a database, broker or store that was asked for does not answer
├── DeviceFaultError        a device that a worker is pinned to is faulty, gone or in use
└── RenderError             one job could not be drawn
    ├── TransientRenderError    worth another attempt
    └── PermanentRenderError    will fail again: fail the job now
"""

from __future__ import annotations


class TenstepError(Exception):
    """An error with a sentence for the user; ``hint`` says what to do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(TenstepError):
    """What the user gave is wrong."""

    exit_code = 2


class ConfigurationError(TenstepError):
    """A setting is wrong, or asks for something that is not installed."""

    exit_code = 2


class ServiceUnavailableError(TenstepError):
    """A database, broker or store does not answer."""

    exit_code = 2


class DeviceFaultError(TenstepError):
    """A device cannot be used: it is faulty, gone, or another process has it.

    Another device may well be used, so a supervisor lets the workers on others go on.
    """

    exit_code = 69
    """What systemd and others know as "unavailable"."""


class RenderError(TenstepError):
    """One job could not be drawn; ``code`` groups failures of one kind."""

    code = "render_error"


class TransientRenderError(RenderError):
    """Worth another attempt."""

    code = "transient"


class PermanentRenderError(RenderError):
    """Will fail again."""

    code = "permanent"
