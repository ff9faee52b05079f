"""Ctrl-C and SIGTERM that are not lost, in processes that go on until they are told to stop."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import NoReturn


class _Interruption:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self.was_asked = False


_interruption = _Interruption()


def raise_when_asked_to_stop(*signals: signal.Signals) -> None:
    """Have signals raise KeyboardInterrupt; one that the starter had ignored stays ignored."""
    for number in signals:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def pause(seconds: float) -> None:
    """Sleep, in a loop that only an interruption ends.

    Python reports what is raised within a destructor or beside a fork, and goes on: an
    interruption that came at such a moment is raised here.

    Args:
        seconds: how long.

    Raises:
        KeyboardInterrupt: this process was asked to stop, now or before.
    """
    if _interruption.was_asked:
        raise KeyboardInterrupt
    time.sleep(seconds)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    _interruption.was_asked = True
    raise KeyboardInterrupt
