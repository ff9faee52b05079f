"""How busy devices are: what is measured, and of what it is a share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

DEFINITION = (
    "Device time of a device's images, over the time from when it began its first to when it "
    "was done with its last; so every gap between images, passes and chunks counts against it. "
    "The share is the median over devices. The overall share is the device time of all images, "
    "over the number of devices times the time from the first one's begin to the last one's "
    "end; so what devices wait for each other at the end counts too."
)


@dataclass(frozen=True, slots=True)
class BusyPlan:
    """What is drawn, and on what."""

    images: int
    devices: int
    image_seconds: float
    """Device time of an image."""
    store_seconds: float
    """What storing an image takes beside what the folder takes."""


class DrawnImage(NamedTuple):
    """When an image was drawn, in nanoseconds of a clock that all devices share."""

    device: str
    begin_ns: int
    """No later than when the device began it, or the chunk that it is of."""
    end_ns: int
    """No earlier than when the device was done with it."""
    device_ns: int


@dataclass(frozen=True, slots=True)
class DeviceSpan:
    """One device, from its first image to its last."""

    images: int
    begin_ns: int
    end_ns: int
    device_ns: int

    @property
    def busy_share(self) -> float:
        """Part of that time in which it drew."""
        return self.device_ns / (self.end_ns - self.begin_ns)


@dataclass(frozen=True, slots=True)
class Busy:
    """How busy the devices of one run were."""

    spans: Sequence[DeviceSpan]
    """Of each device that drew anything; at least one."""
    start_seconds: float
    """From the start of the processes to when all were ready; counts in no share."""

    @property
    def busy_share(self) -> float:
        """Median over devices."""
        return median(span.busy_share for span in self.spans)

    @property
    def overall_busy_share(self) -> float:
        """Of all devices together, from the first begin to the last end."""
        device_ns = sum(span.device_ns for span in self.spans)
        return device_ns / (len(self.spans) * self._wall_ns)

    @property
    def images(self) -> int:
        """How many were drawn."""
        return sum(span.images for span in self.spans)

    @property
    def images_per_second(self) -> float:
        """Of all devices, from the first begin to the last end."""
        return self.images / (self._wall_ns / 1e9)

    @property
    def _wall_ns(self) -> int:
        begin = min(span.begin_ns for span in self.spans)
        return max(span.end_ns for span in self.spans) - begin

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "busy_share": self.busy_share,
            "overall_busy_share": self.overall_busy_share,
            "images": self.images,
            "images_per_second": self.images_per_second,
            "wall_seconds": self._wall_ns / 1e9,
            "start_seconds": self.start_seconds,
            "devices": [
                {
                    "images": span.images,
                    "busy_share": span.busy_share,
                    "device_ns": span.device_ns,
                    "wall_ns": span.end_ns - span.begin_ns,
                }
                for span in self.spans
            ],
        }


def spans_of(images: Iterable[DrawnImage]) -> Sequence[DeviceSpan]:
    """Sort images by device."""
    by_device: dict[str, list[DrawnImage]] = defaultdict(list)
    for image in images:
        by_device[image.device].append(image)
    return [
        DeviceSpan(
            images=len(its),
            begin_ns=min(image.begin_ns for image in its),
            end_ns=max(image.end_ns for image in its),
            device_ns=sum(image.device_ns for image in its),
        )
        for its in by_device.values()
    ]
