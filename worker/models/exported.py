"""The layout of a model that was exported to ONNX."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from shared.errors import ConfigurationError
from shared.models.card import read_json

TEXT_ENCODER = "text_encoder"
DENOISER = "denoiser"
VAE_DECODER = "vae_decoder"
GRAPH = "model.onnx"
GRAPH_DATA = "model.onnx.data"
"""Weights of a graph that is too large for one file; beside it."""
EXPORT_RECORD = "export.json"
BATCH, HEIGHT, WIDTH = "batch", "height", "width"
"""Symbols of the graphs; height and width are counted in latent positions."""


class ExportPrecision(StrEnum):
    """What an exported model's denoiser computes in; the other networks are float32."""

    FLOAT32 = "float32"
    INT8 = "int8"
    """Projections in int8, scaled by what each run brings."""
    INT8_STATIC = "int8-static"
    """Convolutions and projections in int8, scaled by what drawing some images brought."""


def precision_of(folder: Path) -> ExportPrecision:
    """Return what an exported model draws in.

    Raises:
        ConfigurationError: the record of its export is broken.
    """
    record = folder / EXPORT_RECORD
    # Records of releases before int8 do not tell.
    told = read_json(record).get("precision") if record.is_file() else None
    return ExportPrecision(told or ExportPrecision.FLOAT32)


def require_exact(folder: Path) -> None:
    """Refuse a model that only the processor draws.

    Raises:
        ConfigurationError: it was exported in int8.
    """
    precision = precision_of(folder)
    if precision is not ExportPrecision.FLOAT32:
        raise ConfigurationError(
            f"{folder}: its denoiser is {precision}, which is for the processor alone",
            hint="Name the model that it was exported from.",
        )
