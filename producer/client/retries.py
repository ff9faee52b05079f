"""Requests that are sent again when a server, or the way to it, fails for a while."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

import httpx

from producer.client.answers import checked
from producer.client.steps import Call, Open, Operation, Pause, Send, Stream
from shared.errors import ServiceUnavailableError, TenstepError

T = TypeVar("T")

COMES_BACK = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often, and how long after each other, something is tried."""

    tries: int = 5
    first_seconds: float = 0.5
    most_seconds: float = 30.0
    """Of one pause: a server that asks for a longer one is not waited for."""

    def pause(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row: twice as long each time."""
        return min(self.first_seconds * 2.0 ** (failures - 1), self.most_seconds)


def patiently(stream: Stream[T], patience: Patience) -> Stream[T]:
    """Hand on the steps of a stream; it sees only answers that are no errors, and none too late.

    What it is thrown are errors of ours, and `httpx.TransportError` where an answer broke off.
    """
    try:
        step = next(stream)
        while True:
            try:
                if isinstance(step, Send | Open):
                    answer = yield from _answered(step, patience)
                else:
                    answer = yield step
            except (httpx.TransportError, TenstepError) as error:
                step = stream.throw(error)
            else:
                step = stream.send(answer)
    except StopIteration:
        return
    finally:
        stream.close()


def _answered(step: Send | Open, patience: Patience) -> Operation[httpx.Response]:
    """Send a request until it is answered, a few times at most; returns what is no error.

    Raises:
        ConfigurationError: the key is missing, wrong, or lacks a scope.
        InputError: what was asked for is wrong, or not there.
        ServiceUnavailableError: the server does not answer, or fails.
    """
    call = step.call
    failures, tries = 0, patience.tries + call.more_tries
    while True:
        try:
            response: httpx.Response = yield step
        except httpx.TransportError as error:
            failures += 1
            if failures >= tries or not _may_repeat(call, error):
                raise unreachable(error) from error
            pause = patience.pause(failures)
        else:
            failures += 1
            if response.status_code not in COMES_BACK or failures >= tries:
                return checked(response)
            pause = max(patience.pause(failures), _asked_for(response))
            if pause > patience.most_seconds or not call.is_repeatable:
                return checked(response)
        yield Pause(pause)


def _may_repeat(call: Call, error: httpx.TransportError) -> bool:
    if isinstance(error, httpx.UnsupportedProtocol | httpx.ProtocolError):
        return isinstance(error, httpx.RemoteProtocolError) and call.is_repeatable
    return call.is_repeatable or isinstance(error, NEVER_SENT)


def _asked_for(response: httpx.Response) -> float:
    """Return for how many seconds the server asks; a date is not understood, and is none."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdecimal() else 0.0


def unreachable(error: httpx.TransportError) -> ServiceUnavailableError:
    """Say that a server does not answer."""
    try:
        host = error.request.url.netloc.decode("ascii", "replace").rpartition("@")[2]
    except RuntimeError:  # no request was made yet
        host = "the server"
    reason = str(error) or type(error).__name__
    return ServiceUnavailableError(
        f"{host} does not answer: {reason}", hint="Is that its address, and does tenstep serve run?"
    )
