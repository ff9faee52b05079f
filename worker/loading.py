"""A pipeline from a model's card: which backend, which parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import ConfigurationError
from shared.models.card import ModelCard, read_json
from shared.settings import load_settings
from worker.backends.base import Backend, Manner
from worker.devices import Device
from worker.drawing import DeviceUse
from worker.models.networks import silence_libraries
from worker.models.tokenizer import PromptTokenizer
from worker.pipeline import Pipeline

if TYPE_CHECKING:
    from worker.models.safety import SafetyChecker

QAIC = "qaic"
"""The kind of device, and the backend of that name."""


def load_pipeline(
    card: ModelCard,
    device: Device,
    *,
    backend: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    manner: Manner = "fused",
    models_dir: Path | None = None,
    clock: DeviceUse | None = None,
) -> Pipeline:
    """Load a model on a device.

    Args:
        card: names the model's folder.
        device: the processor or one accelerator.
        backend: torch, onnxruntime, qaic, or auto: qaic on its cards, elsewhere what the
            model's folder is made for.
        precision: of the networks, or auto.
        threads: of the processor; 0 takes one a core.
        manner: how torch runs the networks; other backends have no use for it.
        models_dir: where compiled programs are kept; None asks the settings.
        clock: of the device, where other models draw on it too.

    Raises:
        ConfigurationError: a part of the model is missing or broken, or what was asked
            for is not possible here.
        DeviceFaultError: the accelerator is gone or not ready.
    """
    silence_libraries()
    return Pipeline(
        _open_backend(
            card,
            device,
            backend,
            precision,
            threads,
            models_dir,
            manner=manner,
        ),
        PromptTokenizer(card),
        read_json(card.folder / "scheduler" / "scheduler_config.json"),
        _safety_checker(card, device),
        clock,
        card.qualities,
    )


def _open_backend(
    card: ModelCard,
    device: Device,
    backend: str,
    precision: str,
    threads: int,
    models_dir: Path | None,
    *,
    manner: Manner,
) -> Backend:
    # Each imports what the others do without.
    match _choose(card, device, backend):
        case "qaic":
            from worker.backends.qaic_backend import QaicBackend

            programs = models_dir or load_settings().resolved_models_dir
            return QaicBackend(card, device, programs, precision=precision, threads=threads)
        case "onnxruntime":
            from worker.backends.onnx_backend import OnnxBackend

            return OnnxBackend(card, device, precision=precision, threads=threads)
        case _:
            from worker.backends.torch_backend import TorchBackend

            return TorchBackend(
                card,
                device,
                precision=precision,
                threads=threads,
                manner=manner,
            )


def _choose(card: ModelCard, device: Device, backend: str) -> str:
    if device.kind == QAIC and backend in {"auto", QAIC}:
        return QAIC
    if backend == QAIC:
        raise ConfigurationError(f"the backend qaic draws on Cloud AI 100, not on {device}")
    made_for = card.backend
    if backend not in {"auto", made_for}:
        raise ConfigurationError(
            f"{card.folder}: a model for {made_for}, and the backend is to be {backend}",
            hint=f"tenstep model export {card.name} --to DIR makes one for onnxruntime"
            if made_for == "torch"
            else "Name the model that it was exported from, or the backend onnxruntime.",
        )
    if device.kind == QAIC and made_for == "torch":
        raise ConfigurationError(
            "PyTorch does not draw on Cloud AI 100", hint="Take the backend qaic."
        )
    return made_for


def _safety_checker(card: ModelCard, device: Device) -> SafetyChecker | None:
    if not card.has_safety_checker:
        return None
    # Most models have none, and what it imports takes a while.
    from worker.models.safety import SafetyChecker

    return SafetyChecker(card, "cuda:0" if device.kind == "cuda" else "cpu")
