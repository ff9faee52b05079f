"""Whether a device is the reason why a worker ends, and how its supervisor is told."""

from __future__ import annotations

import sys

from shared.errors import TenstepError
from shared.process import DEVICE_FAULT, ERROR, HINT
from worker.retry import is_device_lost, is_out_of_memory

DRIVER_WORDS = ("cuda gpus", "nvidia driver", "cuda driver", "cuda error", "cuda-capable device")
"""What PyTorch says, in errors of no class of their own, when a driver has no device for it."""


def is_device_fault(error: Exception) -> bool:
    """Tell whether the device is to blame: a worker on another one may well start.

    It is if there is no room on it: another program may have its memory, or another have more.
    """
    if is_device_lost(error) or is_out_of_memory(error):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in DRIVER_WORDS)


def tell_why(error: Exception) -> None:
    """Write the lines that a supervisor reads when the process has ended."""
    begin = DEVICE_FAULT if is_device_fault(error) else ERROR
    said = str(error).strip() or type(error).__name__
    # What drivers add below the first line is for who debugs kernels.
    sys.stderr.write(f"{begin}{said.splitlines()[0]}\n")
    if isinstance(error, TenstepError) and error.hint:
        sys.stderr.write(f"{HINT}{error.hint}\n")
    sys.stderr.flush()
