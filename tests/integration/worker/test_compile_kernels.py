"""What is compiled ahead is all that an image needs."""

from __future__ import annotations

import subprocess
import sys

AHEAD = [sys.executable, "-m", "worker.compile_kernels"]
DRAW = """
from numba.core import event

class Compilations(event.Listener):
    def on_start(self, told):
        print("compiles", told.data["dispatcher"].__name__)

    def on_end(self, told):
        pass

event.register("numba:compile", Compilations())

from shared.domain.prompts import ImageSettings
from shared.models.catalog import load_card
from worker.devices import Device
from worker.loading import load_pipeline

card = load_card("emoji-64")
settings = card.sampler.model_dump()
jobs = [
    ImageSettings(prompt=f"a cat {seed}", seed=seed, width=64, height=64, **settings)
    for seed in range(3)
]
print("drew", len(load_pipeline(card, Device.parse("cpu")).draw(jobs)))
"""


def test_after_kernels_were_compiled_ahead_images_wait_for_no_compiler() -> None:
    ahead = subprocess.run(AHEAD, capture_output=True, text=True, timeout=300, check=True)
    drawn = subprocess.run(
        [sys.executable, "-c", DRAW], capture_output=True, text=True, timeout=120, check=True
    )

    assert "ready after" in ahead.stderr
    assert drawn.stdout == "drew 3\n"
