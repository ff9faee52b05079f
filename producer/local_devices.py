"""Which devices of this host workers are to have: those that were named, or whatever is good.

What a host has is known to code that may import torch, so a process of its own is asked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.domain.devices import AUTO, SIMULATED, Device, split_names
from shared.errors import ConfigurationError

MANY_WORKERS = frozenset({"cpu", SIMULATED})
"""Kinds of which a device can have several processes."""
INVENTORY_SECONDS = 120.0
"""Drivers of many cards may take long to answer."""

Ask = Callable[[], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class ChosenDevices:
    """What workers are to be pinned to."""

    names: Sequence[str]
    """Each is for a process of its own."""
    left_out: Sequence[str] = ()
    """Why others are not among them; a sentence each."""


def choose_devices(text: str, ask: Ask | None = None) -> ChosenDevices:
    """Choose what a name says, or a list of names; "auto" is every good accelerator, else the cpu.

    Nothing that is simulated or emulated is ever chosen by itself.

    Args:
        text: the names.
        ask: tells what this host has, if that matters; default `list_devices`.

    Raises:
        ConfigurationError: it is no list of names, or this host lacks one; says what it has.
    """
    names = split_names(text)
    if names == [AUTO]:
        return whatever_is_good((ask or list_devices)())
    twice = [name for name, count in Counter(names).items() if count > 1]
    if AUTO in names or twice:
        what = "auto stands alone" if AUTO in names else f"{twice[0]} is named twice"
        raise ConfigurationError(f"--device {text}: {what}")
    devices = [Device.parse_all(name)[0] for name in names]
    if any(device.kind not in MANY_WORKERS for device in devices):
        _check_there(devices, (ask or list_devices)())
    return ChosenDevices(names)


def whatever_is_good(found: Sequence[Mapping[str, Any]]) -> ChosenDevices:
    """Choose of what a host has; see ``worker.inventory`` for what is said of each."""
    accelerators = [device for device in found if device["kind"] != "cpu"]
    good = [device["device"] for device in accelerators if _why_not(device) is None]
    left_out = [
        f"{device['device']} ({device['name']}) is left out: {reason}"
        for device in accelerators
        if (reason := _why_not(device)) is not None
    ]
    return ChosenDevices(good or ["cpu"], left_out)


def _why_not(device: Mapping[str, Any]) -> str | None:
    if device["is_emulated"]:
        return "it is an emulator, which only its name chooses"
    if not device["is_healthy"]:
        return str(device["health"])
    holder = device["holder"]
    return f"process {holder['pid']} has it" if holder else None


def _check_there(devices: Sequence[Device], found: Sequence[Mapping[str, Any]]) -> None:
    there = [device["device"] for device in found]
    missing = [
        device for device in devices if device.kind not in MANY_WORKERS and str(device) not in there
    ]
    if missing:
        raise ConfigurationError(
            f"this host has no {missing[0]}: it has {', '.join(there)}",
            hint="tenstep devices tells of their health.",
        )


def list_devices(seconds: float = INVENTORY_SECONDS) -> Sequence[Mapping[str, Any]]:
    """Ask what this host has; see ``worker.inventory``.

    Args:
        seconds: how long its drivers may take to answer.

    Raises:
        ConfigurationError: a driver does not answer, or with nonsense.
    """
    try:
        done = subprocess.run(
            # -P: a folder named worker in the current directory must not win.
            [sys.executable, "-P", "-m", "worker.inventory"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(
            f"the drivers did not tell within {seconds:g} seconds which devices there are"
        ) from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ConfigurationError(f"the devices of this host cannot be listed: {said[-1]}")
    found: Sequence[Mapping[str, Any]] = json.loads(done.stdout)["devices"]
    return found
