"""When a worker's process makes way for a new one."""

from __future__ import annotations

from shared.settings import Settings
from worker.recycling import Recycling


def test_a_process_is_never_recycled_unless_somebody_wants_it() -> None:
    assert Recycling(Settings()).is_due(10**9) is None


def test_a_process_is_recycled_after_so_many_images() -> None:
    recycling = Recycling(Settings(recycle_after_images=1_000))
    assert recycling.is_due(999) is None
    assert recycling.is_due(1_000) == "it has drawn 1,000 images"


def test_a_process_is_recycled_once_it_holds_so_much_memory() -> None:
    large = Recycling(Settings(recycle_over_bytes=2**50))
    assert large.is_due(1) is None
    reason = Recycling(Settings(recycle_over_bytes=2**20)).is_due(1)
    assert reason is not None
    held = int("".join(filter(str.isdigit, reason)))
    assert 2**20 < held < 2**36
