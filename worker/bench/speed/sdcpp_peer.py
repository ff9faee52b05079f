"""stable-diffusion.cpp through its Python binding, with the same weights."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from shared.db.outcomes import PhaseTimes
from shared.models.card import ModelCard
from worker.bench.speed.contestants import PROMPT, Setup
from worker.models.networks import load_networks

PACKAGE = "stable-diffusion-cpp-python"
TRIED_STEPS = 2
WEIGHTS = "diffusion_pytorch_model.safetensors"
TEXT_WEIGHTS = "model.safetensors"


class StableDiffusionCpp:
    """Draws whole images; its callback tells when each step ended."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        """Load weights from a folder that `write_weights` made."""
        self._setup = setup
        binding: Any = importlib.import_module("stable_diffusion_cpp")
        with _quiet():
            self._model = binding.StableDiffusion(
                model_path=str(folder),
                vae_decode_only=True,
                n_threads=setup.threads,
                wtype="f32",
                verbose=False,
            )
        self.settings = f"{PACKAGE} {version(PACKAGE)}, float32, DPM++ 2M, one image at a time"

    def warm(self) -> None:
        """Do nothing: all is ready once it is loaded, and its steps are long."""

    def round(self) -> PhaseTimes:
        """Draw an image; of two steps where it is not to be whole, the others as the second.

        The text is encoded once an image, with the first step's preparations: what lies between
        the call and the first step's beginning.
        """
        steps = self._setup.steps if self._setup.whole else TRIED_STEPS
        ends: list[int] = []
        with _quiet():
            begin = time.perf_counter_ns()
            self._model.generate_image(
                PROMPT,
                width=self._setup.side,
                height=self._setup.side,
                cfg_scale=self._setup.card.sampler.guidance_scale,
                sample_method="dpm++2m",
                sample_steps=steps,
                seed=0,
                # Told at the beginning of the first step, and at each one's end.
                progress_callback=lambda *_: ends.append(time.perf_counter_ns()),
            )
            end = time.perf_counter_ns()
        at = ends[: steps + 1]
        first, *later = (after - before for before, after in pairwise(at))
        denoise_ns = first + sum(later) * (self._setup.steps - 1) // len(later)
        return PhaseTimes(at[0] - begin, denoise_ns, end - at[-1])


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the library prints, from C, out of a command's own output."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
