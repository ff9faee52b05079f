"""Waiting for a database or a store that is away for a while."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import TypeVar

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from shared.errors import ServiceUnavailableError

T = TypeVar("T")

log = structlog.get_logger()

OUTAGES = (ServiceUnavailableError, OperationalError, InterfaceError)
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 2.0


def patiently(work: Callable[[], T], patience_seconds: float) -> T:
    """Do something, again and again while a service is away.

    The second time is at once, for a connection may have been lost long before. The waits from
    then on are jittered, so that a fleet that lost it together does not come back together.

    Args:
        work: may be done twice without harm.
        patience_seconds: when to give up.

    Raises:
        ServiceUnavailableError: the store was away for longer.
        sqlalchemy.exc.DBAPIError: the database was.
    """
    # To begin with a count of tries takes longer than most of what is done here.
    with suppress(*OUTAGES):
        return work()
    return _retrying(patience_seconds)(work)


@lru_cache(maxsize=8)
def _retrying(patience_seconds: float) -> Retrying:
    """Make it once: that takes longer than to look into the database. Threads may share it."""
    return Retrying(
        retry=retry_if_exception_type(OUTAGES),
        stop=stop_after_delay(patience_seconds),
        wait=wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS),
        before_sleep=_tell,
        reraise=True,
    )


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("service_away", error=str(error), tries=state.attempt_number)
