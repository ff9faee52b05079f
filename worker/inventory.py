"""``python -m worker.inventory``: the devices of this host, their health, and who has them."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.errors import ConfigurationError, TenstepError
from shared.settings import shown_devices
from worker.device_lock import Holder, holder_of
from worker.devices import Device, processor_name
from worker.qaic.cards import QaicCard, find_cards

FINE = "ok"
PCI_DEVICES = Path("/sys/bus/pci/devices")
NVIDIA = "0x10de"
DISPLAY_CLASS = "0x03"
DRIVER_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))
"""Of NVIDIA's driver, that of Windows below Linux, and AMD's, whose devices are cuda to torch."""


@dataclass(frozen=True, slots=True)
class HostDevice:
    """One device of this host."""

    device: str
    kind: str
    name: str
    """What it calls itself."""
    sku: str
    """What its driver says was bought; empty where it says nothing of that."""
    cores: int
    """Of a processor, threads of its hardware; 0 if it was not told."""
    memory_bytes: int
    """0 if it was not told."""
    capability: str
    """CUDA's compute capability, such as 9.0; else empty."""
    health: str
    """FINE, or what is wrong with it."""
    is_emulated: bool
    holder: Holder | None
    """The worker that has it."""

    @property
    def is_healthy(self) -> bool:
        """Whether a worker can be expected to start on it."""
        return self.health == FINE

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        holder = self.holder and {
            "pid": self.holder.pid,
            "worker_id": str(self.holder.worker_id) if self.holder.worker_id else None,
        }
        return {**asdict(self), "is_healthy": self.is_healthy, "holder": holder}


def find_devices(environ: Mapping[str, str]) -> Sequence[HostDevice]:
    """List what this host has, its processor first.

    Args:
        environ: says which CUDA devices count.

    Raises:
        ConfigurationError: the folder of the locks is not this user's own.
    """
    return [_processor(), *_cuda_devices(environ), *_cards()]


def missing_device(device: str, kind: str, sku: str) -> HostDevice:
    """Describe a device that a worker was pinned to and that is not there any more."""
    return HostDevice(device, kind, "unknown", sku, 0, 0, "", "it is gone", False, None)


def _processor() -> HostDevice:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return HostDevice("cpu", "cpu", processor_name(), "", cores or 0, memory, "", FINE, False, None)


def _cards() -> Iterator[HostDevice]:
    """Yield the cards, or what keeps them from being listed."""
    try:
        cards = find_cards()
    except ConfigurationError as error:
        yield _unusable(str(error), Device("qaic", 0))
        return
    yield from map(_card, cards)


def _card(card: QaicCard) -> HostDevice:
    device = Device("qaic", card.qid)
    health = FINE if card.is_ready else f"its status is {card.status}"
    return HostDevice(
        str(device),
        "qaic",
        card.name,
        card.sku,
        card.cores,
        card.memory_bytes,
        "",
        health,
        card.is_emulated,
        holder_of(device, {}),
    )


def _cuda_devices(environ: Mapping[str, str]) -> Iterator[HostDevice]:
    """Yield what torch sees, or what keeps it from seeing a device that is there."""
    if not _has_driver() and not _has_nvidia_card():
        return
    if find_spec("torch") is None:
        yield _unusable("torch is not installed: pip install 'tenstep[worker]'")
        return
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        yield _unusable(_why_none(environ, [str(warning.message) for warning in said]))
    for index in range(count):
        yield _cuda_device(Device("cuda", index), environ)


def _cuda_device(device: Device, environ: Mapping[str, str]) -> HostDevice:
    import torch

    holder = holder_of(device, environ)
    try:
        facts = torch.cuda.get_device_properties(device.index or 0)
        if holder is None:
            # A device in error still tells its name; that it works shows only when it does.
            torch.zeros(1, device=str(device)).item()
    except RuntimeError as error:
        return _unusable(str(error).splitlines()[0], device, holder)
    return HostDevice(
        str(device),
        "cuda",
        facts.name,
        "",
        facts.multi_processor_count,
        facts.total_memory,
        f"{facts.major}.{facts.minor}",
        FINE,
        False,
        holder,
    )


def _unusable(
    health: str, device: Device | None = None, holder: Holder | None = None
) -> HostDevice:
    device = device or Device("cuda", 0)
    return HostDevice(str(device), device.kind, "unknown", "", 0, 0, "", health, False, holder)


def _why_none(environ: Mapping[str, str], warned: Sequence[str]) -> str:
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is built without CUDA"
    if warned:
        return warned[0].splitlines()[0]
    shown = environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return f"CUDA_VISIBLE_DEVICES={shown} shows none"
    return "its driver is not loaded, or fails: nvidia-smi tells"


def _has_driver() -> bool:
    return any(path.exists() for path in DRIVER_FILES)


def _has_nvidia_card() -> bool:
    for folder in PCI_DEVICES.glob("*"):
        try:
            vendor = (folder / "vendor").read_text("ascii").strip()
            kind = (folder / "class").read_text("ascii")
        except OSError:
            continue
        if vendor == NVIDIA and kind.startswith(DISPLAY_CLASS):
            return True
    return False


def main() -> int:
    """Print what this host has as JSON."""
    try:
        found = find_devices(shown_devices())
    except TenstepError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps({"devices": [device.to_json() for device in found]}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
