"""The variables that say what is emulated."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_VERSION = "1.20.2-emulator"
CORES = {"std": 14, "pro": 16, "ultra": 16}
DEFAULT_DRAM_MB = 16384


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise SystemExit(f"{name}: {text!r} is no whole number")
    return int(text)


def _sdk_version() -> str:
    version = os.environ.get("QAIC_EMULATOR_SDK") or DEFAULT_VERSION
    if "emulator" not in version:
        raise SystemExit("QAIC_EMULATOR_SDK: an emulator's version must say so")
    return version


SDK_VERSION = _sdk_version()


def card_count() -> int:
    """Return how many cards there are."""
    return _number("QAIC_EMULATOR_CARDS", 1)


def sku() -> str:
    """Return what kind they are: std, pro or ultra."""
    name = os.environ.get("QAIC_EMULATOR_SKU") or "std"
    if name not in CORES:
        raise SystemExit(f"QAIC_EMULATOR_SKU: {name!r} is none of {', '.join(CORES)}")
    return name


def dram_mb() -> int:
    """Return the memory of each, in megabytes."""
    return _number("QAIC_EMULATOR_DRAM_MB", DEFAULT_DRAM_MB)


def threads() -> int:
    """Return how many threads of the processor a session takes."""
    return max(1, _number("QAIC_EMULATOR_THREADS", 1))


def compile_seconds() -> int:
    """Return how long the compiler takes at least; the real one takes minutes."""
    return _number("QAIC_EMULATOR_COMPILE_SECONDS", 0)


def state_folder() -> Path | None:
    """Return the folder whose files tell cards what to do."""
    folder = os.environ.get("QAIC_EMULATOR_STATE")
    return Path(folder) if folder else None
