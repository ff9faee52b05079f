"""Memory that a worker frees stays with it until it is asked to hand it back."""

from __future__ import annotations

import subprocess
import sys

PASSES = """
import resource, threading
from worker.host_memory import keep_freed_memory, return_freed_memory
from worker.recycling import resident_bytes

def faults_of(passes):
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(passes):
        tensors = [bytearray(8 * 2**20) for _ in range(4)]
        del tensors
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

def look():
    faults_of(2)
    print(faults_of(10), flush=True)

if {keeps}:
    keep_freed_memory()
look()
thread = threading.Thread(target=look)
thread.start()
thread.join()
held = resident_bytes()
return_freed_memory()
print(held - resident_bytes())
"""
PAGES_OF_A_PASS = 4 * 8 * 2**20 // 4096


def _faults(*, keeps: bool) -> tuple[int, int, int]:
    """Return the faults of ten passes in the main thread and in another, and what came back."""
    done = subprocess.run(
        [sys.executable, "-c", PASSES.format(keeps=keeps)],
        capture_output=True,
        text=True,
        check=True,
    )
    main, other, returned = map(int, done.stdout.split())
    return main, other, returned


def test_the_same_memory_is_not_faulted_in_again_for_every_pass() -> None:
    main, other, _ = _faults(keeps=True)
    assert main < PAGES_OF_A_PASS / 10
    assert other < PAGES_OF_A_PASS / 10
    assert sum(_faults(keeps=False)[:2]) > PAGES_OF_A_PASS


def test_it_is_handed_back_when_that_is_asked_for() -> None:
    _, _, returned = _faults(keeps=True)
    assert returned > 16 * 2**20
