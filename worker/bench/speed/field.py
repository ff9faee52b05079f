"""Who takes part: tenstep's backends and its peers, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeVar

from shared.domain.quality import Quality
from shared.errors import InputError
from shared.models.card import FLEXIBLE_UNET, ModelCard, read_card
from worker.bench.speed.contestants import Contestant, Setup

Name = Literal[
    "torch",
    "onnxruntime",
    "diffusers",
    "diffusers-onnxruntime",
    "openvino",
    "stable-diffusion.cpp",
]
N = TypeVar("N", bound=str)
BACKENDS: Sequence[Name] = ("torch", "onnxruntime")
"""tenstep's own."""
PEERS: Sequence[Name] = ("diffusers", "diffusers-onnxruntime", "openvino", "stable-diffusion.cpp")
INSTALLED_BY: Mapping[str, tuple[str, str]] = {
    "openvino": ("openvino", "pip install openvino"),
    "stable-diffusion.cpp": (
        "stable_diffusion_cpp",
        "pip install stable-diffusion-cpp-python",
    ),
}
"""Module, and what installs it, of peers that tenstep does without."""

SHORT: Mapping[str, str] = {"diffusers-onnxruntime": "diffusers on ORT"}
"""What tables call those whose names are long."""
EXPORTED, GRAPHS, WEIGHTS = "exported", "graphs", "weights"


@dataclass(frozen=True, slots=True)
class Entry:
    """Somebody who runs a model at a chunk size and a quality."""

    name: Name
    card: ModelCard
    chunk: int
    quality: Quality = Quality.EXACT

    @property
    def is_ours(self) -> bool:
        """Whether it is one of tenstep's backends."""
        return self.name in BACKENDS

    @property
    def title(self) -> str:
        """Return what reports call it."""
        if self.quality is not Quality.EXACT:
            return f"tenstep {self.quality}"
        return f"tenstep {self.name}" if self.is_ours else SHORT.get(self.name, self.name)

    @property
    def exactly(self) -> Entry:
        """Return the same without shortcuts."""
        return replace(self, quality=Quality.EXACT)


def parse_names(option: str, text: str, known: Sequence[N]) -> tuple[N, ...]:
    """Read a list of names as the command line has it; ``all`` and ``none`` are such lists.

    Raises:
        InputError: a name is unknown.
    """
    if text in {"all", "none"}:
        return tuple(known) if text == "all" else ()
    asked = dict.fromkeys(part.strip() for part in text.split(","))
    if unknown := [name for name in asked if name not in known]:
        raise InputError(
            f"{option}: no {unknown[0]!r}", hint=f"There are {', '.join(known)}, all and none."
        )
    return tuple(name for name in known if name in asked)


def why_not(entry: Entry) -> str | None:
    """Tell why somebody cannot take part here; None where he can."""
    module, install = INSTALLED_BY.get(entry.name, (None, ""))
    if module is not None and find_spec(module) is None:
        return f"not installed: {install}"
    if entry.name == "stable-diffusion.cpp" and entry.card.denoiser_folder.name == FLEXIBLE_UNET:
        return "runs Stable Diffusion's own U-Net, and no U-Net-NAS"
    return None


def prepare(entry: Entry, folder: Path) -> None:
    """Write what somebody reads in place of the model's folder, unless it is there.

    Done before anybody is loaded: to export holds a large network twice.

    Args:
        entry: who, with which model.
        folder: keeps the files for the length of a run.

    Raises:
        TenstepError: a part of the model is missing or broken.
    """
    its_folder = folder / entry.card.name
    its_folder.mkdir(exist_ok=True)
    match entry.name:
        case "onnxruntime":
            from worker.export.export import export_model

            if not (its_folder / EXPORTED).is_dir():
                export_model(entry.card, its_folder / EXPORTED)
        case "diffusers-onnxruntime" | "openvino":
            from worker.bench.speed.graphs import write_graphs

            write_graphs(entry.card, its_folder / GRAPHS)
        case "stable-diffusion.cpp":
            from worker.bench.speed.sdcpp_peer import write_weights

            write_weights(entry.card, its_folder / WEIGHTS)
        case "torch" | "diffusers":
            pass


def open_contestant(entry: Entry, setup: Setup, folder: Path) -> Contestant:
    """Load somebody's networks.

    Args:
        entry: who, with which model.
        setup: the size, the chunk and the threads.
        folder: where `prepare` wrote.

    Raises:
        TenstepError: a part of the model is missing or broken.
    """
    its_folder = folder / entry.card.name
    # Each imports what others do without.
    match entry.name:
        case "torch":
            from worker.bench.speed.ours import open_torch

            return open_torch(setup)
        case "onnxruntime":
            from worker.bench.speed import ours

            return ours.open_onnxruntime(setup, read_card(its_folder / EXPORTED))
        case "diffusers":
            from transformers.utils import logging as transformers_logging

            # Its advice on image processors, which nobody needs here, is given on import.
            transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
            from worker.bench.speed.diffusers_peer import open_diffusers

            return open_diffusers(setup)
        case "diffusers-onnxruntime":
            from worker.bench.speed.graph_peers import open_onnxruntime

            return open_onnxruntime(setup, its_folder / GRAPHS)
        case "openvino":
            from worker.bench.speed.openvino_peer import open_openvino

            return open_openvino(setup, its_folder / GRAPHS)
        case "stable-diffusion.cpp":
            from worker.bench.speed.sdcpp_peer import StableDiffusionCpp

            return StableDiffusionCpp(setup, its_folder / WEIGHTS)
