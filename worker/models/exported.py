"""The layout of a model that was exported to ONNX."""

from __future__ import annotations

TEXT_ENCODER = "text_encoder"
DENOISER = "denoiser"
VAE_DECODER = "vae_decoder"
GRAPH = "model.onnx"
GRAPH_DATA = "model.onnx.data"
"""Weights of a graph that is too large for one file; beside it."""
EXPORT_RECORD = "export.json"
BATCH, HEIGHT, WIDTH = "batch", "height", "width"
"""Symbols of the graphs; height and width are counted in latent positions."""
