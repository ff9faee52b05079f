"""The safety checker that came with a checkpoint."""

from __future__ import annotations

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from torch import Tensor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from shared.errors import ConfigurationError
from shared.models.card import SAFETY_CHECKER, ModelCard
from worker.models.networks import load_transformer


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
        self._network = load_transformer(
            StableDiffusionSafetyChecker, card.folder / SAFETY_CHECKER, torch.float32
        )
        self._network.requires_grad_(False).eval().to(device)

    def __call__(self, pixels: Tensor) -> list[bool]:
        """Tell of images (B, height, width, 3), uint8, which are not to be published."""
        images = [image.numpy() for image in pixels]
        inputs = self._preprocess(images, return_tensors="pt").pixel_values.to(self._device)
        # It blackens what it flags; ours are not to be touched.
        _, flags = self._network(clip_input=inputs, images=inputs.clone())
        return [bool(flag) for flag in flags]
