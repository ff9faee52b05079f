"""The optional dependencies that draw."""

from __future__ import annotations

from importlib.util import find_spec

from shared.errors import ConfigurationError

NEEDED = ("torch", "diffusers", "transformers", "safetensors", "onnx", "onnxruntime")


def require_worker_extra() -> None:
    """Check that what draws is installed, without importing it.

    Raises:
        ConfigurationError: something is missing; says how to install it.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"not installed here: {', '.join(missing)}; pip install 'tenstep[worker]' adds them"
        )
