"""stable-diffusion.cpp through its Python binding, with the same weights."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from contextlib import closing
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from shared.db.outcomes import PhaseTimes
from shared.models.card import ModelCard
from worker.bench.speed.contestants import PROMPT, Setup
from worker.bench.speed.silence import OUT, muted
from worker.models.networks import load_networks

PACKAGE = "stable-diffusion-cpp-python"
TRIED_STEPS = 2
TRIED_SIDE = 256
"""Of the image of one step that is drawn in each way, at most; in pixels."""
WAYS: Mapping[str, Mapping[str, bool]] = {
    "direct convolutions": {"diffusion_conv_direct": True, "vae_conv_direct": True},
    "direct convolutions, flash attention": {
        "diffusion_conv_direct": True,
        "vae_conv_direct": True,
        "diffusion_flash_attn": True,
    },
    "convolutions as matrix products": {},
}
"""That its documentation names for a processor."""
WEIGHTS = "diffusion_pytorch_model.safetensors"
TEXT_WEIGHTS = "model.safetensors"


class StableDiffusionCpp:
    """Draws whole images; its callback tells when each step ended."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        """Load weights from a folder that `write_weights` made, in the way that is fastest here."""
        self._setup = setup
        self._folder = folder
        self._binding: Any = importlib.import_module("stable_diffusion_cpp")
        taken = {way: self._trial_ns(way) for way in WAYS}
        best = min(taken, key=taken.__getitem__)
        self._model = self._load(best)
        self.settings = (
            f"{PACKAGE} {version(PACKAGE)}, {best}, float32, DPM++ 2M, one image at a time"
        )

    def warm(self) -> None:
        """Do nothing: all is ready once it is loaded, and its steps are long."""

    def round(self) -> PhaseTimes:
        """Draw an image; of two steps where it is not to be whole, the others as the second.

        The text is encoded once an image, with the first step's preparations: what lies between
        the call and the first step's beginning.
        """
        steps = self._setup.steps if self._setup.whole else TRIED_STEPS
        begin = time.perf_counter_ns()
        # Told at the beginning of the first step, and at each one's end.
        at = self._draw(self._model, self._setup.side, steps)[: steps + 1]
        end = time.perf_counter_ns()
        first, *later = (after - before for before, after in pairwise(at))
        denoise_ns = first + sum(later) * (self._setup.steps - 1) // len(later)
        return PhaseTimes(at[0] - begin, denoise_ns, end - at[-1])

    def _trial_ns(self, way: str) -> int:
        with closing(self._load(way)) as model:
            begin = time.perf_counter_ns()
            self._draw(model, min(self._setup.side, TRIED_SIDE), 1)
            return time.perf_counter_ns() - begin

    def _load(self, way: str) -> Any:
        with muted(OUT):
            return self._binding.StableDiffusion(
                model_path=str(self._folder),
                vae_decode_only=True,
                n_threads=self._setup.threads,
                wtype="f32",
                verbose=False,
                **WAYS[way],
            )

    def _draw(self, model: Any, side: int, steps: int) -> list[int]:
        """Return when its callback was called."""
        told: list[int] = []
        try:
            with muted(OUT):
                model.generate_image(
                    PROMPT,
                    width=side,
                    height=side,
                    cfg_scale=self._setup.card.sampler.guidance_scale,
                    sample_method="dpm++2m",
                    sample_steps=steps,
                    seed=0,
                    progress_callback=lambda *_: told.append(time.perf_counter_ns()),
                )
        finally:
            # The binding lets go of the callback, and the library would call it at the next load.
            self._binding.sd_set_progress_callback(None, None)
        return told


def write_weights(card: ModelCard, folder: Path) -> None:
    """Write a model's weights as a diffusers folder in float32, unless it is there."""
    if folder.is_dir():
        return
    networks = load_networks(card)
    _save(networks.denoiser, folder / "unet" / WEIGHTS)
    _save(networks.decoder, folder / "vae" / WEIGHTS)
    # It knows transformers' names of before, as published files have them.
    _save(networks.text_encoder, folder / "text_encoder" / TEXT_WEIGHTS, prefix="text_model.")


def _save(network: nn.Module, path: Path, prefix: str = "") -> None:
    path.parent.mkdir(parents=True)
    state = network.state_dict()
    save_file({f"{prefix}{name}": tensor.contiguous() for name, tensor in state.items()}, path)
