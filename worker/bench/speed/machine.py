"""The machine that is measured: its name, and how fast it multiplies at best."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch

from worker.devices import processor_name

SQUARE = 2048
"""Rows and columns: large enough for a library to reach its best, and a tenth of a second."""
REPEATS = 3


@dataclass(frozen=True, slots=True)
class Machine:
    """What a report says of the machine."""

    processor: str
    cores: int
    threads: int
    """That each contestant takes."""
    memory_bytes: int


def this_machine(threads: int) -> Machine:
    """Describe the machine that this process runs on."""
    return Machine(
        processor_name(),
        os.cpu_count() or 1,
        threads,
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def multiply_peak() -> list[float]:
    """Return GFLOP/s of a few products of large square float32 matrices, by torch."""
    left, right = torch.rand(SQUARE, SQUARE), torch.rand(SQUARE, SQUARE)
    torch.mm(left, right)  # the first one of a process wakes the library and its threads
    rates = []
    for _ in range(REPEATS):
        begin = time.perf_counter_ns()
        torch.mm(left, right)
        rates.append(2 * SQUARE**3 / (time.perf_counter_ns() - begin))
    return rates
