"""When two jobs ask for the very same image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from shared.domain.quality import Quality
from shared.domain.sampling import SchedulerName

SETTINGS = (
    "prompt",
    "negative_prompt",
    "seed",
    "width",
    "height",
    "scheduler",
    "steps",
    "squeeze",
    "guidance_scale",
    "guidance_rescale",
)
"""All that decides an exact image, but the weights, and timesteps that were searched for them."""


def image_fingerprint(
    job: object, weights_sha256: str, searched_timesteps: Sequence[float] | None
) -> str:
    """Hash all that decides a job's image: SHA-256, in hex.

    Args:
        job: has an attribute for each of the settings, and a quality.
        weights_sha256: tells the weights that draw it.
        searched_timesteps: what the scheduler ``searched`` goes along, which may be searched again;
            no matter for any other scheduler, whose timesteps follow from the settings.
    """
    decisive = [weights_sha256, *(getattr(job, name) for name in SETTINGS)]
    if (quality := getattr(job, "quality")) != Quality.EXACT:  # noqa: B009 - any object that has it
        decisive.append(quality)
    if getattr(job, "scheduler") == SchedulerName.SEARCHED:  # noqa: B009 - any object that has it
        decisive.append(searched_timesteps)
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()
