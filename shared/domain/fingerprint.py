"""When two jobs ask for the very same image."""

from __future__ import annotations

import hashlib
import json

from shared.domain.quality import Quality

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
"""All that decides an exact image, but the weights."""


def image_fingerprint(job: object, weights_sha256: str) -> str:
    """Hash all that decides a job's image: SHA-256, in hex.

    Args:
        job: has an attribute for each of the settings, and a quality.
        weights_sha256: tells the weights that draw it.
    """
    decisive = [weights_sha256, *(getattr(job, name) for name in SETTINGS)]
    if (quality := getattr(job, "quality")) != Quality.EXACT:  # noqa: B009 - any object that has it
        decisive.append(quality)
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()
