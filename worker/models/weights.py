"""A diffusers folder on disk: safetensors and JSON, never code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from shared.errors import ConfigurationError

WEIGHTS = "diffusion_pytorch_model.safetensors"
HASH_CHUNK_BYTES = 1 << 20


def read_config(path: Path) -> Mapping[str, Any]:
    """Read a JSON object.

    Raises:
        ConfigurationError: there is no such file, or it is no JSON object.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: not a JSON object")
    return document


def load_strictly(network: nn.Module, path: Path, *, left_aside: tuple[str, ...] = ()) -> None:
    """Load weights by name into a network, cast to the network's precision.

    Args:
        network: takes every tensor of the file, and needs no other.
        path: a safetensors file.
        left_aside: how names of tensors begin that are not meant for this network.

    Raises:
        ConfigurationError: the file is unreadable, or a tensor is missing, left over, or
            of another shape; names it.
    """
    try:
        weights = {
            name: tensor
            for name, tensor in load_file(path).items()
            if not name.startswith(left_aside)
        }
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    expected = network.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        if name not in weights:
            raise ConfigurationError(f"{path}: the tensor {name} is missing")
        if name not in expected:
            raise ConfigurationError(f"{path}: the tensor {name} has no place in the model")
        if weights[name].shape != expected[name].shape:
            raise ConfigurationError(
                f"{path}: the tensor {name} has shape {tuple(weights[name].shape)}, "
                f"not {tuple(expected[name].shape)}"
            )
    network.load_state_dict(weights)


def hash_weights(folder: Path) -> str:
    """Return one SHA-256 over all weights of a model, with their paths, in order of path."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            while block := file.read(HASH_CHUNK_BYTES):
                digest.update(block)
    return digest.hexdigest()
