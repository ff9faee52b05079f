"""What an operation asks of whoever drives it: no operation touches the network itself.

An operation is a generator. It yields steps, is sent what became of each, and returns or emits
results. So the protocol is written once, and a driver for blocking code and one for asyncio
carry it out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")

LONG_SECONDS = 600.0
"""Silence of a server that writes, or counts, a great many images before it answers."""

Content = Callable[[], Iterable[bytes]]
"""Begins to read what is sent, from the first byte on."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the server."""

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    """Begins with a slash: a key goes to no other host."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """What is None is left out."""
    json: Any = None
    content: Content | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    silence_seconds: float | None = None
    """How long the server may say nothing; None is the client's own."""
    more_tries: int = 0
    """Than others, for a server that is known to be there."""
    is_repeatable: bool = True
    """Whether it may be sent again when nobody knows what became of it."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request; gives the whole response, or throws `httpx.TransportError`."""

    call: Call


@dataclass(frozen=True, slots=True)
class Open:
    """Send a request and leave the response open; gives it, read only if it is an error."""

    call: Call
    parts: Literal["blocks", "events"] = "blocks"


@dataclass(frozen=True, slots=True)
class Next:
    """Read on; gives the next bytes or event of what was opened last, or None at its end."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Emit(Generic[T]):
    """Hand something to the caller."""

    value: T


Step = Send | Open | Next | Pause
Operation = Generator[Step, Any, T]
"""Comes to one result."""
Stream = Generator[Step | Emit[T], Any, None]
"""Comes to any number of them."""


def only_result(operation: Operation[T]) -> Stream[T]:
    """Emit what an operation returns."""
    result = yield from operation
    yield Emit(result)
