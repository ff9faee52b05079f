"""What costs can be grouped by: light, for the command line reads it at every start."""

from __future__ import annotations

from enum import StrEnum


class CostsBy(StrEnum):
    """What the costs of one group have in common."""

    BATCH = "batch"
    JOB = "job"
    """Of one batch, in order of position."""
    MODEL = "model"
    DEVICE = "device"
    """Kind, SKU and name."""
    WORKER = "worker"
    TENANT = "tenant"
    TAG = "tag"
    """Key and value; a batch counts in the group of each of its tags."""
    DAY = "day"
    """In UTC."""
