"""The safety checker that came with a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from torch import Tensor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from shared.errors import ConfigurationError
from shared.models.card import SAFETY_CHECKER, ModelCard, read_json


class SafetyChecker:
    """Compares images with the concepts that the checkpoint's authors did not want shown.

    Rando et al. 2022 (arXiv 2210.04610) describe how it works, and what it misses.
    """

    def __init__(self, card: ModelCard, device: torch.device | str = "cpu") -> None:
        """Load ``safety_checker/`` and ``feature_extractor/``.

        Raises:
            ConfigurationError: one of them is missing or broken.
        """
        folder = card.folder / "feature_extractor"
        try:
            self._preprocess = CLIPImageProcessorPil.from_pretrained(
                str(folder), local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{folder}: {error}") from None
        self._device = device
        self._network = _load_network(card.folder / SAFETY_CHECKER)
        self._network.requires_grad_(False).eval().to(device)

    def __call__(self, pixels: Tensor) -> list[bool]:
        """Tell of images (B, height, width, 3), uint8, which are not to be published."""
        images = [image.numpy() for image in pixels]
        inputs = self._preprocess(images, return_tensors="pt").pixel_values.to(self._device)
        # It blackens what it flags; ours are not to be touched.
        _, flags = self._network(clip_input=inputs, images=inputs.clone())
        return [bool(flag) for flag in flags]


def _load_network(folder: Path) -> Any:
    """Load it strictly; old names of tensors are transformers' business."""
    read_json(folder / "config.json")
    # Only with loading info does it return two things, which its types do not tell.
    load: Any = StableDiffusionSafetyChecker.from_pretrained
    try:
        network, report = load(
            str(folder),
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are reported, and refused below
            weights_only=True,
        )
    except Exception as error:  # noqa: BLE001 - it passes on what its many readers raise
        said = (str(error).strip() or repr(error)).splitlines()[0]
        raise ConfigurationError(f"{folder}: {said}") from None
    for problem, told in (("missing_keys", "is missing"), ("unexpected_keys", "has no place")):
        for name in sorted(report[problem]):
            raise ConfigurationError(f"{folder}: the tensor {name} {told}")
    for name, found, expected in sorted(report["mismatched_keys"]):
        raise ConfigurationError(
            f"{folder}: the tensor {name} has shape {tuple(found)}, not {tuple(expected)}"
        )
    return network
