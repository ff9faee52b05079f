"""What a check found, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and may not be what somebody wants."""
    FAULT = "fault"
    """Something does not work until somebody sees to it."""
    SKIPPED = "skipped"
    """It was not looked at: it needs what is not there, or does not apply."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. Nothing in it is secret."""

    check: str
    verdict: Verdict
    found: str
    remedy: str | None = None
    """What to do; of warnings and faults alone."""

    def to_json(self) -> dict[str, str | None]:
        """Return it as plain values."""
        return {**asdict(self), "verdict": self.verdict.value}


def fine(check: str, found: str) -> Finding:
    """Find nothing amiss."""
    return Finding(check, Verdict.OK, found)


def warning(check: str, found: str, remedy: str) -> Finding:
    """Find what works, and may not be what somebody wants."""
    return Finding(check, Verdict.WARNING, found, remedy)


def fault(check: str, found: str, remedy: str) -> Finding:
    """Find what does not work."""
    return Finding(check, Verdict.FAULT, found, remedy)


def skipped(check: str, why: str) -> Finding:
    """Say why something was not looked at."""
    return Finding(check, Verdict.SKIPPED, why)
