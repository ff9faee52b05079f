"""What many look at is read once; what went wrong is not kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from producer.api import feed
from producer.api.feed import MAX_AGE_SECONDS, SWEPT_AT, SharedReads
from support.commands import wait_until

ASKERS = 50
PATIENCE_SECONDS = 10


class Clock:
    """Goes on when it is told to, however long a busy machine takes."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(feed, "time", clock)
    return clock


class Source:
    """Something that is read, and counts how often; it waits until it may answer."""

    def __init__(self, *, fails: bool = False) -> None:
        self.reads = 0
        self.may_answer = threading.Event()
        self.fails = fails

    def read(self) -> int:
        self.reads += 1
        assert self.may_answer.wait(PATIENCE_SECONDS)
        if self.fails:
            raise LookupError("it is gone")
        return self.reads


def run(story: Callable[[SharedReads[int]], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        await story(SharedReads())

    asyncio.run(whole())


async def asked(reads: SharedReads[int], source: Source, key: str = "it") -> list[Any]:
    """Have many ask at once, and only then let the source answer."""
    askers = [asyncio.create_task(reads.get(key, source.read)) for _ in range(ASKERS)]
    await asyncio.sleep(0)
    source.may_answer.set()
    return await asyncio.gather(*askers, return_exceptions=True)


def test_many_who_ask_at_once_are_one_read() -> None:
    async def story(reads: SharedReads[int]) -> None:
        source = Source()

        assert await asked(reads, source) == [1] * ASKERS
        assert await reads.get("it", source.read) == 1
        assert source.reads == 1

    run(story)


def test_other_things_are_read_on_their_own() -> None:
    async def story(reads: SharedReads[int]) -> None:
        one, other = Source(), Source()
        await asked(reads, one, "one")
        await asked(reads, other, "other")
        assert (one.reads, other.reads) == (1, 1)

    run(story)


def test_an_error_reaches_all_who_asked_and_is_not_kept() -> None:
    async def story(reads: SharedReads[int]) -> None:
        source = Source(fails=True)

        errors = await asked(reads, source)
        assert [str(error) for error in errors] == ["it is gone"] * ASKERS
        assert source.reads == 1
        source.fails = False

        assert await reads.get("it", source.read) == 2

    run(story)


def test_who_goes_away_takes_nothing_from_the_others() -> None:
    async def story(reads: SharedReads[int]) -> None:
        source = Source()
        leaving = asyncio.create_task(reads.get("it", source.read))
        staying = asyncio.create_task(reads.get("it", source.read))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        source.may_answer.set()

        assert await staying == 1

    run(story)


def test_what_is_forgotten_or_old_is_read_anew(clock: Clock) -> None:
    async def story(reads: SharedReads[int]) -> None:
        source = Source()
        source.may_answer.set()
        assert await reads.get("it", source.read) == 1
        reads.forget(lambda key: key == "another")
        assert await reads.get("it", source.read) == 1
        reads.forget(lambda key: key == "it")
        assert await reads.get("it", source.read) == 2
        clock.now += MAX_AGE_SECONDS
        assert await reads.get("it", source.read) == 3

    run(story)


def test_what_changes_while_it_is_read_is_read_again() -> None:
    async def story(reads: SharedReads[int]) -> None:
        source = Source()
        early = asyncio.create_task(reads.get("it", source.read))
        await asyncio.to_thread(wait_until, lambda: source.reads == 1)
        reads.forget(lambda key: key == "it")
        late = asyncio.create_task(reads.get("it", source.read))
        await asyncio.to_thread(wait_until, lambda: source.reads == 2)
        source.may_answer.set()

        await asyncio.gather(early, late)
        assert await reads.get("it", source.read) == 2
        assert source.reads == 2

    run(story)


def test_what_is_too_old_for_anybody_is_forgotten(clock: Clock) -> None:
    async def story(reads: SharedReads[int]) -> None:
        for number in range(SWEPT_AT):
            await reads.get(number, lambda: 1)
        clock.now += 2 * MAX_AGE_SECONDS
        await reads.get("one more", lambda: 1)

        assert len(reads._kept) == 1

    run(story)
