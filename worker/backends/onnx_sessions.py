"""ONNX Runtime's sessions: which provider runs a graph, and with which options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from shared.errors import ConfigurationError

Provider = tuple[str, dict[str, str]]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
QAIC = "QAicExecutionProvider"
INSTALLED_BY = {
    CUDA: "pip install onnxruntime-gpu in place of onnxruntime",
    QAIC: "install the onnxruntime that comes with Qualcomm's Cloud AI SDK",
}
ERRORS_ONLY = 3
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
"""Where a graph that is no file has its weights."""


def providers_for(
    kind: str,
    index: int | None = None,
    *,
    available: Sequence[str] | None = None,
    qaic_config: Path | None = None,
) -> list[Provider]:
    """Choose what runs a graph on a device.

    Args:
        kind: of the device: cpu, cuda or qaic.
        index: a CUDA device as this process sees it, or a card's QID.
        available: providers of this ONNX Runtime; None asks it.
        qaic_config: the YAML file that says how the card's compiler treats this graph.

    Raises:
        ConfigurationError: this ONNX Runtime does not run on such a device.
    """
    if kind == "cpu":
        return [(CPU, {})]
    name = {"cuda": CUDA, "qaic": QAIC}.get(kind)
    if name is None:
        raise ConfigurationError(f"ONNX Runtime knows no device of kind {kind!r}")
    if name not in (onnxruntime.get_available_providers() if available is None else available):
        raise ConfigurationError(
            f"this ONNX Runtime has no {name}, which {kind} devices need", hint=INSTALLED_BY[name]
        )
    options = {"device_id": str(index or 0)}
    if kind == "qaic":
        if qaic_config is None:
            raise ConfigurationError(f"{name} needs a YAML file with options of its compiler")
        options["config"] = str(qaic_config)
    # What a device has no kernel for runs on the processor.
    return [(name, options), (CPU, {})]


def open_session(
    path: Path, providers: Sequence[Provider], threads: int, *, graph: bytes | None = None
) -> Any:
    """Load a graph; weights in a file of their own are mapped into memory.

    Args:
        path: an ONNX file.
        providers: from `providers_for`.
        threads: of the processor.
        graph: loaded in the file's place; its weights lie beside the file.

    Raises:
        ConfigurationError: there is no such file, or it is broken.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = ERRORS_ONLY
    # A plan of memory a shape wants a block of its own beside the first run's: 0.9 GB more for
    # a decoder at 512 x 512, and no faster. The arena itself stays: 2.5 times faster there.
    options.enable_mem_pattern = False
    # Three networks have three sets of threads: those at rest must not spin beside the others.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if graph is not None:
        options.add_session_config_entry(WEIGHTS_FOLDER, str(path.parent))
    try:
        return onnxruntime.InferenceSession(
            str(path) if graph is None else graph, options, providers=list(providers)
        )
    except Exception as error:  # noqa: BLE001 - its errors have no base class of their own
        raise ConfigurationError(f"{path}: {_first_line(error)}") from None


def run(session: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """Run a graph with one output on tensors of the processor."""
    arrays = {name: tensor.contiguous().numpy() for name, tensor in inputs.items()}
    return torch.from_numpy(session.run(None, arrays)[0])


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
