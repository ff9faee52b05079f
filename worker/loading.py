"""A pipeline from a model's card: which backend, which parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import ConfigurationError
from shared.models.card import ModelCard, read_json
from worker.backends.base import Backend
from worker.devices import Device
from worker.models.networks import silence_libraries
from worker.models.tokenizer import PromptTokenizer
from worker.pipeline import Pipeline

if TYPE_CHECKING:
    from worker.models.safety import SafetyChecker


def load_pipeline(
    card: ModelCard,
    device: Device,
    *,
    backend: str = "auto",
    precision: str = "auto",
    threads: int = 0,
) -> Pipeline:
    """Load a model on a device.

    Args:
        card: names the model's folder.
        device: the processor or one accelerator.
        backend: torch, onnxruntime, or auto: what the model's folder is made for.
        precision: of the networks, or auto.
        threads: of the processor; 0 takes one a core.

    Raises:
        ConfigurationError: a part of the model is missing or broken, or what was asked
            for is not possible here.
    """
    silence_libraries()
    return Pipeline(
        _open_backend(card, device, backend, precision, threads),
        PromptTokenizer(card),
        read_json(card.folder / "scheduler" / "scheduler_config.json"),
        _safety_checker(card, device),
    )


def _open_backend(
    card: ModelCard, device: Device, backend: str, precision: str, threads: int
) -> Backend:
    made_for = card.backend
    if backend not in {"auto", made_for}:
        raise ConfigurationError(
            f"{card.folder}: a model for {made_for}, and the backend is to be {backend}",
            hint=f"tenstep model export {card.name} --to DIR makes one for onnxruntime"
            if made_for == "torch"
            else "Name the model that it was exported from, or the backend onnxruntime.",
        )
    # Each imports what the other does without.
    if made_for == "onnxruntime":
        from worker.backends.onnx_backend import OnnxBackend

        return OnnxBackend(card, device, precision=precision, threads=threads)
    from worker.backends.torch_backend import TorchBackend

    return TorchBackend(card, device, precision=precision, threads=threads)


def _safety_checker(card: ModelCard, device: Device) -> SafetyChecker | None:
    if not card.has_safety_checker:
        return None
    # Most models have none, and what it imports takes a while.
    from worker.models.safety import SafetyChecker

    return SafetyChecker(card, "cuda:0" if device.kind == "cuda" else "cpu")
