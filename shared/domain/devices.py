"""What devices are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.errors import ConfigurationError

AUTO = "auto"
"""Whatever good accelerators a host has, else its processor."""
SIMULATED = "simulated"
HINT = (
    "Devices are cpu; cuda:0, cuda:1, …; qaic:0, qaic:1, …; simulated:0, or simulated:qaic:0, "
    "which takes as long as a qaic does; simulated:0-49 is fifty of them in one process. "
    "tenstep devices lists what a host has."
)
_NAME = re.compile(
    r"cpu"
    r"|(?P<kind>cuda|qaic)(?::(?P<index>\d{1,3}))?"
    r"|simulated(?::(?P<imitates>cpu|cuda|qaic))?(?::(?P<first>\d{1,3})(?:-(?P<last>\d{1,3}))?)?",
    re.ASCII,
)


class DeviceKind(StrEnum):
    """What queues and prices go by."""

    CPU = "cpu"
    CUDA = "cuda"
    QAIC = "qaic"
    """Qualcomm's Cloud AI 100."""
    SIMULATED = "simulated"
    """Takes its time and draws nothing: for trials of a fleet."""


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator, or the processor."""

    kind: str
    """What its queue and its price go by: cpu, cuda, qaic, simulated."""
    index: int | None
    imitates: str | None = None
    """Of a simulated one: the kind whose known pace it keeps; None keeps that of the settings."""

    @classmethod
    def parse(cls, text: str) -> Device:
        """Read "cpu", "cuda:0", "qaic:3", "simulated:0" or "simulated:qaic:0".

        Raises:
            ConfigurationError: it is none of them, or several.
        """
        devices = cls.parse_all(text)
        if len(devices) > 1:
            raise ConfigurationError(f"{text} is {len(devices)} devices, where one is wanted")
        return devices[0]

    @classmethod
    def parse_all(cls, text: str) -> Sequence[Device]:
        """Read the devices of one process: one, or a range of simulated ones, "simulated:0-49".

        Raises:
            ConfigurationError: it names no device.
        """
        match = _NAME.fullmatch(text)
        if match is None:
            raise ConfigurationError(f"no such device: {text!r}", hint=HINT)
        if text == "cpu":
            return [cls("cpu", None)]
        if match["kind"] is not None:
            return [cls(match["kind"], int(match["index"] or 0))]
        first = int(match["first"] or 0)
        last = first if match["last"] is None else int(match["last"])
        if last < first:
            raise ConfigurationError(f"no such devices: {text!r} ends before it begins", hint=HINT)
        return [cls(SIMULATED, index, match["imitates"]) for index in range(first, last + 1)]

    def __str__(self) -> str:
        parts = (self.kind, self.imitates, self.index)
        return ":".join(str(part) for part in parts if part is not None)


def split_names(text: str) -> Sequence[str]:
    """Split a list of names, "cuda:0,cuda:1", each of which one process is to have."""
    return [name.strip() for name in text.split(",")]
