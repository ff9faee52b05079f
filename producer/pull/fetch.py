"""Images out of the store: several at once, each checked, few of them in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from producer.pull.positions import PositionSet
from shared.storage.base import ObjectNotFoundError, ObjectStore, sha256_of

PARALLEL = 8
AHEAD = 2
"""How many times as many images are asked for as are fetched at once."""
MAX_TOLD = 1_000

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PullProblem:
    """An image that is in the books and cannot be had from the store."""

    position: int
    reason: str


@dataclass(slots=True)
class Problems:
    """What could not be had: all of it counted, the first 1,000 with their reasons."""

    _positions: PositionSet = field(default_factory=PositionSet)
    _reasons: dict[int, str] = field(default_factory=dict)

    def add(self, position: int, reason: str) -> None:
        """Note an image that cannot be had."""
        self._positions.add(position)
        if len(self._reasons) < MAX_TOLD:
            self._reasons[position] = reason

    def solve(self, position: int) -> None:
        """Forget it: it came after all."""
        self._positions.discard(position)
        self._reasons.pop(position, None)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._positions)

    def told(self) -> list[PullProblem]:
        """Return those with reasons, in order."""
        return [
            PullProblem(position, self._reasons[position]) for position in sorted(self._reasons)
        ]


class UnavailableImageError(Exception):
    """An image that is in the books and cannot be had."""


def fetch_image(store: ObjectStore, key: str, sha256: str) -> bytes:
    """Read an image and check that it is the one of the books.

    Raises:
        UnavailableImageError: it is missing or damaged.
        ServiceUnavailableError: the store does not answer.
    """
    try:
        data = store.get(key)
    except ObjectNotFoundError as error:
        raise UnavailableImageError(error.message) from error
    if sha256_of(data) != sha256:
        where = f"{key} in {store.display_url}"
        raise UnavailableImageError(f"{where} is damaged: its SHA-256 differs")
    return data


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], parallel: int
) -> Generator[tuple[Item, Result]]:
    """Yield each item with its result, in order, while threads work on those that follow.

    Unlike `Executor.map` it asks for no more than it can hold: twice as many as there are
    threads. Closed early, it waits for those under way alone.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(parallel, "pull") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) >= AHEAD * parallel:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
