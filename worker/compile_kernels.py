"""``python -m worker.compile_kernels``: compile what the processor draws with, ahead of images.

Else the first one on a machine waits for that. The machine code is kept for all later processes.
"""

from __future__ import annotations

import sys
import time

from shared.domain.prompts import ImageSettings
from shared.models.catalog import load_card
from worker.devices import Device
from worker.loading import load_pipeline

MODEL = "emoji-64"
"""The model that ships; kernels are the same for all."""


def main() -> None:
    """Draw an image, which takes every kernel."""
    begin = time.monotonic()
    sys.stderr.write("compiling for this processor, if that was not done before …\n")
    card = load_card(MODEL)
    pipeline = load_pipeline(card, Device.parse("cpu"))
    sampler = card.sampler.model_dump()
    job = ImageSettings(
        prompt="a red apple", seed=0, width=card.width, height=card.height, **sampler
    )
    pipeline.draw([job])
    sys.stderr.write(f"ready after {time.monotonic() - begin:.0f} s\n")


if __name__ == "__main__":
    main()
