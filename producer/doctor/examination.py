"""Examinations: groups of checks that run beside each other, each bounded in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from producer.doctor.finding import Finding, fault, skipped
from shared.errors import TenstepError


@dataclass(frozen=True, slots=True)
class Examination:
    """Checks of one thing, in the order in which they are made."""

    checks: Sequence[str]
    look: Callable[[], Iterator[Finding]]
    """Yields a finding a check, in that order.

    It may end early, where the last finding says why there is nothing more to look at, and
    may raise: then the next check has failed.
    """
    seconds: float
    """It is left alone after so many; what it has not told by then counts as a fault."""


def run_all(examinations: Sequence[Examination]) -> Iterator[Finding]:
    """Make all examinations at once, and yield a finding for each of their checks, in order."""
    for running in [_Running(examination) for examination in examinations]:
        yield from running.findings()


class _Running:
    """An examination in a thread that ends with the process, if a server never answers."""

    def __init__(self, examination: Examination) -> None:
        self._examination = examination
        self._told: list[Finding] = []
        self._error: Exception | None = None
        self._deadline = time.monotonic() + examination.seconds
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        try:
            for finding in self._examination.look():
                self._told.append(finding)
        except Exception as error:  # noqa: BLE001 - one check's failure ends no other
            self._error = error

    def findings(self) -> Iterator[Finding]:
        """Wait until it has ended or its time is over, and yield a finding for each check."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        is_late = self._thread.is_alive()
        told = tuple(self._told)
        yield from told
        left = list(self._examination.checks[len(told) :])
        if left and (is_late or self._error is not None):
            yield self._failed(left.pop(0))
        failed = self._examination.checks[-len(left) - 1]
        for check in left:
            yield skipped(check, f"not looked at, see {failed}")

    def _failed(self, check: str) -> Finding:
        error = self._error
        if error is None:
            seconds = self._examination.seconds
            remedy = "Look whether it hangs, or is far away; --timeout gives it longer."
            return fault(check, f"no answer within {seconds:g} s", remedy)
        if isinstance(error, TenstepError):
            return fault(check, error.message, error.hint or "Correct that.")
        # What it says may hold a password; what it is may not.
        remedy = "Please report this: no check should end so."
        return fault(check, f"this should not have happened: {type(error).__name__}", remedy)
