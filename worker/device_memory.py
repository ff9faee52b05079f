"""How much memory a device has for models, what they take of it, and how it is freed."""

from __future__ import annotations

import gc
import os

from shared.models.card import ModelCard, weight_files
from worker.devices import Device
from worker.host_memory import available_bytes, return_freed_memory
from worker.qaic.cards import find_cards

PERCENT_OF_RAM = 80
"""The rest is for images, and for whatever else the host does."""


def total_bytes(device: Device) -> int:
    """Return the memory that a device has for models; 0 where that is no matter, or unknown."""
    match device.kind:
        case "cuda":
            import torch

            return torch.cuda.get_device_properties(0).total_memory
        case "qaic":
            found = [card for card in find_cards() if card.qid == device.index]
            return found[0].memory_bytes if found else 0
        case "cpu":
            pages = os.sysconf("SC_PHYS_PAGES")
            return os.sysconf("SC_PAGE_SIZE") * pages * PERCENT_OF_RAM // 100
        case _:
            return 0


def used_bytes(device: Device) -> int:
    """Return the memory that torch has in use on a device; 0 where it does not tell."""
    if device.kind != "cuda":
        return 0
    import torch

    return torch.cuda.memory_allocated()


def free_bytes(device: Device) -> int:
    """Return the memory that torch may still take of a device; 0 where it does not tell."""
    match device.kind:
        case "cuda":
            import torch

            kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
            return torch.cuda.mem_get_info()[0] + kept
        case "cpu":
            return available_bytes()
        case _:
            return 0


def weights_bytes(card: ModelCard) -> int:
    """Return how large a model's weights are on disk, for what it takes before it was loaded."""
    return sum(path.stat().st_size for path in weight_files(card.folder))


def free_memory(device: Device) -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    return_freed_memory()
    if device.kind == "cuda":
        import torch

        torch.cuda.empty_cache()
