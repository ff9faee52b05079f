"""An interruption that Python swallows, and one that is not meant for us."""

from __future__ import annotations

import signal
import subprocess
import sys

TO_STOP = """
import os, signal
from producer.interruption import pause, raise_when_asked_to_stop
"""
SWALLOWED = (
    TO_STOP
    + """
raise_when_asked_to_stop(signal.SIGINT, signal.SIGTERM)

class Ending:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})

Ending()
print("goes on", flush=True)
while True:
    pause(0.01)
"""
)
IGNORED = (
    TO_STOP
    + """
signal.signal(signal.SIGINT, signal.SIG_IGN)
raise_when_asked_to_stop(signal.SIGINT)
os.kill(os.getpid(), signal.SIGINT)
pause(0)
print("goes on")
"""
)


def run(source: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False
    )


def test_an_interruption_raised_where_python_cannot_pass_it_on_is_raised_at_the_next_pause() -> (
    None
):
    for name in ("SIGINT", "SIGTERM"):
        done = run(SWALLOWED.replace("{name}", name))
        assert done.stdout == "goes on\n"
        assert "Exception ignored in" in done.stderr
        assert done.returncode == -signal.SIGINT, "Python's end after a KeyboardInterrupt"


def test_what_the_starter_ignores_stays_ignored() -> None:
    done = run(IGNORED)
    assert (done.returncode, done.stdout) == (0, "goes on\n")
