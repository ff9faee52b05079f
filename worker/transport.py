"""Celery's Redis transport, watched: when it last heard from Redis, and what it cannot read."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis, virtual

_last_poll = float("-inf")
_keep: Callable[[str, object], None] | None = None


def watch(keep: Callable[[str, object], None]) -> None:
    """Have every Redis connection of this process watched from now on.

    Args:
        keep: takes a reason and a message that is not even an envelope of Celery's.
    """
    global _keep  # noqa: PLW0603 - kombu finds transports by name and makes them itself
    _keep = keep
    for scheme in ("redis", "rediss", "redis+socket"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:WatchedTransport"


def seconds_since_last_poll() -> float:
    """Return how long ago Redis last answered a poll of a queue, empty answers included.

    A socket that died without a word, or a loop that hangs, shows here and nowhere else.
    """
    return time.monotonic() - _last_poll


class ForgetfulQoS(redis.QoS):
    """Counts a message as dealt with even if Redis cannot be told so.

    Celery only logs that. The message would count against the prefetch limit for ever, so
    the worker would never poll again, nor notice that its connection is gone.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge; what Redis does not hear of it delivers again, to be claimed by nobody."""
        try:
            super().ack(delivery_tag)
        except Exception:
            virtual.QoS.ack(self, delivery_tag)
            raise


class WatchedChannel(redis.Channel):
    """Polls a queue with BRPOP, which Redis answers within a second, job or no job."""

    QoS = ForgetfulQoS

    def _brpop_read(self, **options: Any) -> Any:
        global _last_poll  # noqa: PLW0603 - one a process, as above
        _last_poll = time.monotonic()
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # kombu ships no types
        except ValueError as error:
            # Left to itself it would end the consumer, and the message is gone from the
            # queue all the same.
            _set_aside(str(error), getattr(error, "doc", error))
            raise Empty from None


class WatchedTransport(redis.Transport):
    """The Redis transport with watched channels."""

    Channel = WatchedChannel

    def _deliver(self, message: Any, queue: str | None) -> None:
        try:
            is_envelope = "body" in message and "delivery_tag" in message["properties"]
        except (TypeError, KeyError):
            is_envelope = False
        if is_envelope:
            super()._deliver(message, queue)
        else:
            _set_aside("no envelope", message)


def _set_aside(reason: str, message: object) -> None:
    if _keep is not None:
        _keep(f"not a message of Celery's: {reason}", message)
