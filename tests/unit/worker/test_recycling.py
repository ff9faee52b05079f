"""When a worker's process makes way for a new one, and how it says so."""

from __future__ import annotations

import subprocess
import sys

from shared.process import RECYCLED
from shared.settings import Settings
from worker.recycling import Recycling

ASKS = """
import os, signal, sys, time
os.environ["TENSTEP_STARTER_PID"] = str(os.getpid())
from shared.process import RECYCLED
from worker.recycling import ask_for_recycling, watch_for_recycling

ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
was_recycled = watch_for_recycling()
if os.fork() == 0:
    ask_for_recycling()
    ask_for_recycling()
    os._exit(0)
os.wait()
while not ended:
    time.sleep(0.01)
sys.exit(RECYCLED if was_recycled() and ended == [1] else 1)
"""


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


def test_the_process_that_draws_has_its_parent_end_in_order_and_once() -> None:
    done = subprocess.run([sys.executable, "-c", ASKS], timeout=30)
    assert done.returncode == RECYCLED
