"""Looks now and then at which threads of a process run, and where they are.

Python imports it at its start, where its folder is on PYTHONPATH. What it has seen is in a file
of the folder that FLEET_SAMPLES names, rewritten every few seconds. A thread that sleeps or waits
is not counted, nor is one that waits for the interpreter's lock.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

LOOK_SECONDS = 0.1
WRITE_EVERY = 50
OURS = ("/worker/", "/shared/", "/producer/")


def _look() -> None:
    seen: Counter[str] = Counter()
    own = threading.get_ident()
    looks = 0
    while True:
        time.sleep(LOOK_SECONDS)
        looks += 1
        frames = sys._current_frames()  # noqa: SLF001 - there is no other way
        for thread in threading.enumerate():
            frame = frames.get(thread.ident or 0)
            if thread.ident != own and frame is not None and _runs(thread):
                seen[_place(frame)] += 1
        if looks % WRITE_EVERY == 0:
            path = Path(os.environ["FLEET_SAMPLES"]) / f"{os.getpid()}.json"
            path.write_text(json.dumps(seen))


def _runs(thread: threading.Thread) -> bool:
    try:
        stat = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "R"


def _place(innermost: FrameType) -> str:
    """Name the innermost function of tenstep's own, and the library's that it has called."""
    leaf = _name(innermost)
    for frame in _outwards(innermost):
        file = frame.f_code.co_filename
        if "site-packages" not in file and any(part in file for part in OURS):
            return f"{_name(frame)} > {leaf}" if frame is not innermost else leaf
    return f"- > {leaf}"


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _name(frame: FrameType) -> str:
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"


if "FLEET_SAMPLES" in os.environ:
    threading.Thread(target=_look, name="samples", daemon=True).start()
