"""The devices of this host: those that there are, and those that the settings ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from producer.doctor.finding import Finding, fault, fine, skipped, warning
from producer.doctor.requirements import missing_of_extra
from producer.local_devices import choose_devices, list_devices
from shared.errors import ConfigurationError
from shared.settings import Settings

DEVICE_CHECKS = ("devices",)
(DEVICES,) = DEVICE_CHECKS


def examine_devices(settings: Settings, seconds: float) -> Iterator[Finding]:
    """Ask what ``tenstep devices`` lists.

    Raises:
        ConfigurationError: they cannot be listed.
    """
    missing = missing_of_extra("worker")
    if missing:
        yield skipped(DEVICES, f"no worker runs here: not installed are {', '.join(missing)}")
        return
    found = list_devices(seconds)
    try:
        choose_devices(settings.device, lambda: found)
    except ConfigurationError as error:
        yield fault(DEVICES, error.message, "Correct TENSTEP_DEVICE; tenstep devices lists them.")
        return
    unhealthy = [device for device in found if not device["is_healthy"]]
    if unhealthy:
        said = "; ".join(f"{device['device']}: {device['health']}" for device in unhealthy)
        remedy = "tenstep devices tells more. A worker on such a device does not start."
        yield warning(DEVICES, said, remedy)
        return
    yield fine(DEVICES, ", ".join(map(_named, found)))


def _named(device: Mapping[str, Any]) -> str:
    return f"{device['device']} ({device['name']})"
