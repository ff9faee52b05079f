"""What the emulator refuses with."""

from __future__ import annotations


class QaicError(RuntimeError):
    """The card, its driver or its compiler does not do it."""
