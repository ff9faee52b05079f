"""On what terms the chunks of a batch are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Terms:
    """As they were when somebody looked."""

    model: str
    check_safety: bool
    is_limited: bool
    """Whether the batch may cost only so much."""
    images_per_pass: int
    """How many go through the device at once, as far as they fit."""
    until: datetime
    """When it is time to look again."""
