"""The text encoder and the denoiser, trained together on frozen latents."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared.domain.sampling import Squeeze
from training import loop, parallel, tokenizer
from training.autoencoder import LATENTS, sampling_weights
from training.config import DenoiserConfig, RunConfig, SampleConfig
from training.data.dataset import load_dataset
from training.data.deck import CaptionDeck
from training.networks import TextToLatent, create
from worker.diffusion.schedule import build_scheduler, with_timesteps


class NoiseLevels:
    """Which timesteps a batch is trained at: stratified over all, later mostly the solver's own."""

    def __init__(self, config: DenoiserConfig, sample: SampleConfig) -> None:
        scheduler = build_scheduler()
        solver = with_timesteps(scheduler, sample.grid_steps, Squeeze.parse(sample.squeeze))
        self.solver_steps: Tensor = solver.timesteps
        cumulative: Tensor = scheduler.alphas_cumprod
        self.signal, self.noise = cumulative.sqrt(), (1.0 - cumulative).sqrt()
        self._tail_from = round(config.steps * (1.0 - config.solver_tail))
        self._share = config.solver_share

    def draw(self, step: int, batch: int, generator: torch.Generator) -> Tensor:
        """Return timesteps (B,) int64."""
        places = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
        levels = (places * len(self.signal)).long()
        if step < self._tail_from:
            return levels
        own = self.solver_steps[(places.roll(batch // 2) * len(self.solver_steps)).long()]
        return torch.where(torch.rand(batch, generator=generator) < self._share, own, levels)


def train(run: RunConfig, folder: Path) -> None:
    """Train on what the stages before left in `folder`; the checkpoint holds the averaged weights.

    The loss is the plain squared error of the velocity (Salimans and Ho 2022, arXiv 2202.00512):
    it weighs the high noise levels, where the text decides what is drawn, as much as the low ones.
    """
    config = run.denoiser
    dataset, words = load_dataset(folder / "data"), tokenizer.load(folder / "tokenizer")
    latents: Tensor = torch.load(folder / LATENTS, weights_only=True)
    torch.manual_seed(run.seed)
    model = create(config, words, latents.shape[1:])
    first_lesson: dict[str, Any] = torch.load(folder / "text.pt", weights_only=True)
    model.text_encoder.load_state_dict(first_lesson["modules"]["text_encoder"])
    network = parallel.share(model)
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    deck = CaptionDeck(dataset.rows, words, config.caption_dropout)
    levels = NoiseLevels(config, run.sample)
    weights = sampling_weights(dataset, run.data.core_weight)
    latents = latents.to(memory_format=torch.channels_last)

    def losses(step: int) -> dict[str, Tensor]:
        generator = loop.step_generator(run.seed, step)
        chosen = torch.multinomial(weights, config.batch, generator=generator)
        clean = latents[chosen]
        noise = torch.randn(clean.shape, generator=generator)
        timesteps = levels.draw(step, config.batch, generator)
        signal_part, noise_part = (
            part[timesteps].view(-1, 1, 1, 1) for part in (levels.signal, levels.noise)
        )
        noisy, velocity = (
            signal_part * clean + noise_part * noise,
            signal_part * noise - noise_part * clean,
        )
        tokens = deck.deal(chosen, generator)
        noisy, velocity, timesteps, tokens = (
            parallel.part(batch) for batch in (noisy, velocity, timesteps, tokens)
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=run.autocast):
            predicted = network(noisy, timesteps, tokens)
        error = (predicted.float() - velocity).square().mean(dim=(1, 2, 3))
        return {"loss": error.mean(), **_by_noise(error.detach(), timesteps)}

    def average(step: int) -> None:
        keep = min(config.ema_decay, (1.0 + step) / (10.0 + step))
        update_average(averaged, model, keep)

    stage = loop.Stage(
        "denoiser",
        {"model": model, "averaged": averaged},
        list(model.parameters()),
        losses,
        config.optimiser,
        config.steps,
        config.batch,
        None if parallel.rank() else average,
    )
    loop.run(stage, folder, run.checkpoint_seconds)


def _by_noise(error: Tensor, timesteps: Tensor) -> dict[str, Tensor]:
    """Mean errors of the lower, middle and upper third of the noise levels."""
    thirds = (timesteps * 3 // 1000).clamp(max=2)
    names = ("low", "middle", "high")
    return {name: error[thirds == third].mean().nan_to_num() for third, name in enumerate(names)}


@torch.no_grad()
def update_average(averaged: nn.Module, model: nn.Module, keep: float) -> None:
    """Move the averaged weights towards the model's by 1 - keep."""
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1.0 - keep)


def load_averaged(run: RunConfig, folder: Path) -> TextToLatent:
    """Return the averaged weights of the last checkpoint."""
    shape = (run.autoencoder.model["latent_channels"], run.latent_size, run.latent_size)
    model = create(run.denoiser, tokenizer.load(folder / "tokenizer"), shape)
    state: dict[str, Any] = torch.load(folder / "denoiser.pt", weights_only=True)
    model.load_state_dict(state["modules"]["averaged"])
    return model.eval().requires_grad_(False)
