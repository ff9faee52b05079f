"""A step that is taken to choose between ways to run a peer: each is shown at its best."""

from __future__ import annotations

import time

import torch

from worker.bench.speed.contestants import ENCODED, Networks, Setup, denoised_rows


@torch.inference_mode()
def step_ns(networks: Networks, setup: Setup) -> int:
    """Return what a chunk's step takes; one before it is not timed."""
    tokens = torch.zeros(ENCODED * setup.chunk, setup.card.max_prompt_tokens, dtype=torch.int64)
    sample = torch.randn(setup.chunk, *networks.latent_shape(setup.side, setup.side))
    timesteps = torch.full((setup.chunk,), 500)
    text = networks.encode_text(tokens)[: denoised_rows(setup.card) * setup.chunk]
    networks.denoise(sample, timesteps, text)
    begin = time.perf_counter_ns()
    networks.denoise(sample, timesteps, text)
    return time.perf_counter_ns() - begin
