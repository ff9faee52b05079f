"""One worker a device, among real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import pytest

from shared.errors import ConfigurationError, DeviceFaultError
from worker.device_lock import hold_device, holder_of, lock_folder
from worker.devices import Device

WORKER = UUID("0197f3a2-5c1e-7bb0-9f6e-1f2d3c4b5a69")
HOLDS = """
import os, sys, time
from uuid import UUID
from worker.device_lock import hold_device
from worker.devices import Device

held = hold_device(Device.parse(sys.argv[1]), UUID(sys.argv[2]), os.environ)
if len(sys.argv) > 3 and os.fork() == 0:
    print(os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
if len(sys.argv) == 3:
    print(os.getpid(), flush=True)
time.sleep(60)
"""
CARD = Device.parse("qaic:3")


@pytest.fixture(autouse=True)
def _folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


@contextmanager
def holding(
    device: str, *more: str, shown: str | None = None
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Have another process hold a device; hands out it, and the id of its last process."""
    environment = {**os.environ} if shown is None else {**os.environ, "CUDA_VISIBLE_DEVICES": shown}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, device, str(WORKER), *more],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process:
        try:
            yield process, int(process.stdout.readline())
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_a_device_in_use_is_refused_by_the_process_that_has_it() -> None:
    with holding("qaic:3") as (process, _):
        with pytest.raises(DeviceFaultError, match=f"qaic:3 is in use by process {process.pid}:"):
            hold_device(CARD, WORKER, {}, patience_seconds=0)
        holder = holder_of(CARD, {})
        assert holder is not None
        assert (holder.pid, holder.worker_id) == (process.pid, WORKER)
        other = hold_device(Device.parse("qaic:4"), WORKER, {}, patience_seconds=0)
        assert other is not None
        other.close()


def test_a_device_is_free_as_soon_as_its_process_is_killed() -> None:
    with holding("qaic:3") as (process, _):
        process.kill()
        process.wait()
        assert holder_of(CARD, {}) is None
        held = hold_device(CARD, WORKER, {}, patience_seconds=0)
        assert held is not None
        held.close()


def test_a_device_is_not_free_while_a_child_of_a_dead_worker_still_has_it() -> None:
    with holding("qaic:3", "with a child") as (process, child):
        process.kill()
        process.wait()
        with pytest.raises(DeviceFaultError, match="in use"):
            hold_device(CARD, WORKER, {}, patience_seconds=0)
        os.kill(child, signal.SIGKILL)
        held = hold_device(CARD, WORKER, {})
        assert held is not None
        held.close()


def test_cuda_devices_are_told_apart_as_the_driver_counts_them() -> None:
    with holding("cuda:1", shown="2,3"):
        with pytest.raises(DeviceFaultError, match="cuda:3 is in use"):
            hold_device(Device.parse("cuda:3"), WORKER, {}, patience_seconds=0)
        assert holder_of(Device.parse("cuda:1"), {}) is None
        assert holder_of(Device.parse("cuda:0"), {"CUDA_VISIBLE_DEVICES": "3"}) is not None


@pytest.mark.parametrize("name", ["cpu", "simulated:0"])
def test_many_may_use_a_processor_or_what_is_simulated(name: str) -> None:
    assert hold_device(Device.parse(name), WORKER, {}) is None
    assert holder_of(Device.parse(name), {}) is None


def test_a_folder_of_locks_that_others_can_write_to_is_refused() -> None:
    lock_folder().chmod(0o777)
    with pytest.raises(ConfigurationError, match="is not a folder that this user alone"):
        hold_device(CARD, WORKER, {})
