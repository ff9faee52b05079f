"""Gives the Python processes that start with this folder in PYTHONPATH a wrong clock.

It shifts what Python code reads as the time of day, not the kernel's clock: no preloaded
library is needed. What C libraries read stays right.
"""

from __future__ import annotations

import datetime as dt
import os
import time

SKEW_SECONDS = float(os.environ["TENSTEP_CHAOS_SKEW_SECONDS"])
_SKEW = dt.timedelta(seconds=SKEW_SECONDS)
_real_time, _real_time_ns, _Real = time.time, time.time_ns, dt.datetime


class _Kind(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Real)


class SkewedDatetime(_Real, metaclass=_Kind):  # type: ignore[misc, valid-type]
    """Makes real ones, of a wrong time."""

    __slots__ = ()  # extension modules check the size of an instance

    def __new__(cls, *args: object, **kwargs: object) -> dt.datetime:  # type: ignore[misc]  # noqa: D102
        return _Real(*args, **kwargs)  # type: ignore[arg-type]

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
        """Return the wrong time."""
        return _Real.now(tz) + _SKEW

    @classmethod
    def utcnow(cls) -> dt.datetime:
        """Return the wrong time, without a zone."""
        return _Real.now(dt.UTC).replace(tzinfo=None) + _SKEW

    today = now


time.time = lambda: _real_time() + SKEW_SECONDS
time.time_ns = lambda: _real_time_ns() + int(SKEW_SECONDS * 10**9)
dt.datetime = SkewedDatetime  # type: ignore[misc]
