"""What a model is made of, and whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from shared.domain.prompts import ImageSettings
from shared.domain.sampling import one_step
from shared.errors import ConfigurationError
from shared.models.card import ModelCard, card_facts, read_json, weight_files
from worker.devices import Device
from worker.loading import load_pipeline
from worker.models.exported import EXPORT_RECORD
from worker.models.measure import measure
from worker.models.weights import hash_weights, stored_precision, weights_identity

BYTES_A_PARAMETER = {"float32": 4, "float16": 2}
DENOISER = "denoiser"
FOLDER_OF = {"vae_decoder": "vae"}
"""Components that are kept under another name."""


def model_facts(card: ModelCard) -> dict[str, Any]:
    """Return what a model is made of; reads its weights to hash them.

    ``gmacs`` are 10^9 multiply-accumulates a sample at the model's own size; memory is
    what the weights take, in bytes, by precision.

    Raises:
        ConfigurationError: a part of the model is missing or broken.
    """
    components = [
        {
            "component": part.component,
            "parameters": part.parameters,
            "gmacs": part.gmacs,
            **_stored(card, part.component),
        }
        for part in measure(card)
    ]
    parameters = sum(part["parameters"] for part in components)
    return {
        **card_facts(card),
        "components": components,
        "parameters": parameters,
        "memory_bytes": {name: parameters * size for name, size in BYTES_A_PARAMETER.items()},
        "weights_sha256": weights_identity(card),
    }


def _stored(card: ModelCard, component: str) -> dict[str, Any]:
    folder = _folder_of(card, component)
    files = weight_files(folder)
    if card.weights == "random" or not files:
        return {"precision": None, "disk_bytes": 0}
    is_onnx = card.backend == "onnxruntime"
    return {
        "precision": "float32" if is_onnx else stored_precision(files[0]),
        "disk_bytes": sum(path.stat().st_size for path in files),
    }


def _folder_of(card: ModelCard, component: str) -> Path:
    if card.backend == "onnxruntime":
        return card.folder / component
    if component == DENOISER:
        return card.denoiser_folder
    return card.folder / FOLDER_OF.get(component, component)


def verify(card: ModelCard) -> str:
    """Hash a model, load all of it, and take one step with it.

    Returns:
        The SHA-256 of its weights.

    Raises:
        ConfigurationError: the hash is not the one on its card, a part is missing or
            broken, or its numbers run away.
    """
    found, expected = _hashes(card)
    if expected is not None and found != expected:
        raise ConfigurationError(
            f"{card.folder}: the weights have changed: SHA-256 {found}, not {expected}"
        )
    pipeline = load_pipeline(card, Device.parse("cpu"))
    settings = one_step(card.sampler)
    job = ImageSettings(
        prompt="", seed=0, width=card.width, height=card.height, **settings.model_dump()
    )
    if not torch.isfinite(pipeline.sample([job])).all():
        raise ConfigurationError(f"{card.folder}: one step gives numbers that are not finite")
    return found


def _hashes(card: ModelCard) -> tuple[str, str | None]:
    """Return the hash of what is there and the one that was written down, if one was.

    An exported model's card names the weights that it came from; its own are in the record
    of the export.
    """
    if card.backend == "torch":
        return weights_identity(card), card.weights_sha256
    record = read_json(card.folder / EXPORT_RECORD)
    return hash_weights(card.folder), record.get("files_sha256")
