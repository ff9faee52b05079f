"""What a worker process is pinned to."""

from __future__ import annotations

import os
import platform
from collections.abc import MutableMapping
from pathlib import Path

from shared.domain.devices import Device
from shared.errors import ConfigurationError

VISIBLE = "CUDA_VISIBLE_DEVICES"


__all__ = ["VISIBLE", "Device", "driver_name", "pin_environment", "processor_name"]


def pin_environment(
    device: Device, cpu_threads: int, environ: MutableMapping[str, str] = os.environ
) -> None:
    """Pin a process to a device, before anything that looks for devices is imported.

    Of CUDA devices only those count that the environment lets this process see, as CUDA itself
    counts them: a cluster's scheduler hands devices out that way.

    Raises:
        ConfigurationError: the environment shows fewer devices.
    """
    if cpu_threads:
        environ["OMP_NUM_THREADS"] = str(cpu_threads)
    # GNU OpenMP: spin for a moment, then sleep. Threads that never spin wake up too late
    # for small networks (1.7 times slower here); threads that spin on starve others.
    environ.setdefault("GOMP_SPINCOUNT", "10000")
    environ[VISIBLE] = (
        driver_name(device, environ.get(VISIBLE, "")) if device.kind == "cuda" else ""
    )


def driver_name(device: Device, shown: str) -> str:
    """Return what the driver calls a CUDA device, of those that a list shows.

    Raises:
        ConfigurationError: the list has fewer.
    """
    index = device.index or 0
    names = shown.split(",") if shown else []
    if not names:
        return str(index)
    if index >= len(names):
        raise ConfigurationError(
            f"no CUDA device for {device}: {VISIBLE}={shown} shows {len(names)}",
            hint="The first of those that it shows is cuda:0.",
        )
    return names[index]


def processor_name() -> str:
    """Return what the processor calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
