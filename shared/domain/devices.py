"""What images are drawn on."""

from __future__ import annotations

from enum import StrEnum


class DeviceKind(StrEnum):
    """What queues and prices go by."""

    CPU = "cpu"
    CUDA = "cuda"
    QAIC = "qaic"
    """Qualcomm's Cloud AI 100."""
    SIMULATED = "simulated"
    """Takes its time and draws nothing: for trials of a fleet."""
