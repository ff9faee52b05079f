"""The text encoder and the denoiser, trained together on frozen latents, in phases.

The first phase starts from the text encoder's lesson. Each later one goes on from both kinds of
weights that the phase before left: the model's own are trained on, and the averaged ones move on
from the averaged ones. Its optimiser, its learning rate and its steps' randomness are its own.
A finished phase is not run again, not even if its settings change: whoever wants it to removes
its checkpoint, and those of the phases after it.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from training import autoencoder, loop, parallel, sample, tokenizer
from training.config import PhaseConfig, RunConfig
from training.lessons import open_lessons
from training.networks import TextToLatent, create
from training.noise_levels import NoiseLevels
from training.teacher import Teacher


def train(run: RunConfig, folder: Path) -> None:
    """Run the phases that are not done, on what the stages before left in `folder`.

    Each leaves a checkpoint of its own, which holds the averaged weights too.
    """
    for number, phase in enumerate(run.denoiser.phases):
        if not loop.is_finished(stage_name(phase), phase.steps, folder):
            _train_phase(run, number, folder)


def stage_name(phase: PhaseConfig) -> str:
    """Return the name of a phase's files, without what follows the dot."""
    return f"denoiser-{phase.name}"


def _train_phase(run: RunConfig, number: int, folder: Path) -> None:
    phase = run.denoiser.phases[number]
    data = PhaseData(run, number, folder)
    model, averaged = _starting_weights(run, number, folder)
    teacher = _teacher(run, phase, averaged, folder)

    def losses(
        network: nn.Module, noisy: Tensor, velocity: Tensor, timesteps: Tensor, *rest: Tensor
    ) -> loop.Losses:
        tokens, weights = rest
        if teacher is not None:
            velocity = teacher.velocity(noisy, timesteps, tokens)
        predicted = network(noisy, timesteps, tokens)
        error = (predicted - velocity).square().mean(dim=(1, 2, 3))
        return {"loss": (weights * error).mean(), **_by_noise(error.detach(), timesteps)}

    def average(step: int) -> None:
        # From the first weights of all the average soon moves away.
        keep = warmed_up(phase.ema_decay, step) if number == 0 else phase.ema_decay
        update_average(averaged, model, keep)

    stage = loop.Stage(
        stage_name(phase),
        model,
        {"model": model, "averaged": averaged},
        data.batch,
        losses,
        phase,
        average,
        lambda: sample_sheet(run, averaged, folder),
        run.sample_minutes * 60.0,
    )
    loop.run(stage, folder, run.checkpoint_seconds, autocast=run.autocast)


class PhaseData:
    """What a phase is trained on: latents of its size with noise of its levels, and captions."""

    def __init__(self, run: RunConfig, number: int, folder: Path) -> None:
        self._phase = phase = run.denoiser.phases[number]
        # Phases alike but for their names see different noise.
        self._seed = run.seed + number
        self._lessons = open_lessons(
            run, phase, folder, seed=self._seed, dropout=run.denoiser.caption_dropout
        )
        self._levels = NoiseLevels(phase, run.sample)

    def batch(self, step: int, part: slice) -> tuple[Tensor, ...]:
        """Return noisy latents and velocity (B, C, h, w), timesteps (B,), tokens, weights (B,).

        Unweighted, the velocity's squared error counts the high noise levels, where the text
        decides what is drawn, as much as the low ones.
        """
        generator, levels = loop.step_generator(self._seed, step), self._levels
        lesson = self._lessons(step, part, generator)
        clean, batch = lesson.latents, self._phase.batch
        noise = torch.randn((batch, *clean.shape[1:]), generator=generator)[part].to(clean.device)
        timesteps = levels.draw(batch, generator)[part]
        return (
            *levels.mix(clean, noise, timesteps),
            timesteps,
            lesson.tokens(generator),
            levels.weights[timesteps],
        )


def _starting_weights(
    run: RunConfig, number: int, folder: Path
) -> tuple[TextToLatent, TextToLatent]:
    """Return the model and its average, as a phase finds them when it begins."""
    phases = run.denoiser.phases
    torch.manual_seed(run.seed)
    model = _create(run, phases[number], folder)
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    if number == 0:
        lesson = loop.read_checkpoint(folder, "text")["modules"]["text_encoder"]
        model.text_encoder.load_state_dict(lesson)
        averaged.load_state_dict(model.state_dict())
    else:
        before = loop.read_checkpoint(folder, stage_name(phases[number - 1]))["modules"]
        model.load_state_dict(before["model"])
        averaged.load_state_dict(before["averaged"])
    return model, averaged


def _teacher(
    run: RunConfig, phase: PhaseConfig, before: TextToLatent, folder: Path
) -> Teacher | None:
    """Return who teaches the phase, if not the pictures do: the weights that it begins with."""
    if phase.teacher is None:
        return None
    empty = tokenizer.encode(tokenizer.load(folder / "tokenizer"), [""])
    return Teacher(copy.deepcopy(before), empty, phase.teacher, autocast=run.autocast)


def _create(run: RunConfig, phase: PhaseConfig, folder: Path) -> TextToLatent:
    side = run.phase_size(phase) * run.latent_size // run.data.image_size
    shape = (run.autoencoder.model["latent_channels"], side, side)
    return create(run.denoiser, tokenizer.load(folder / "tokenizer"), shape)


def _by_noise(error: Tensor, timesteps: Tensor) -> loop.Losses:
    """Mean errors of the lower, middle and upper third of the noise levels."""
    thirds = (timesteps * 3 // 1000).clamp(max=2)
    names = ("low", "middle", "high")
    return {name: error[thirds == third].mean().nan_to_num() for third, name in enumerate(names)}


def warmed_up(decay: float, step: int) -> float:
    """Return what an average that began with untrained weights keeps of itself at a step."""
    return min(decay, (1.0 + step) / (10.0 + step))


@torch.no_grad()
def update_average(averaged: nn.Module, model: nn.Module, keep: float) -> None:
    """Move the averaged weights towards the model's by 1 - keep."""
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1.0 - keep)


def sample_sheet(run: RunConfig, averaged: TextToLatent, folder: Path) -> Image.Image:
    """Return a sheet of what the averaged weights draw for the run's prompts."""
    vae = autoencoder.load(folder / "vae").to(parallel.state().device)
    model = sample.Model(tokenizer.load(folder / "tokenizer"), averaged, vae)
    prompts = run.sample_prompts
    seeds = [run.seed + number for number in range(len(prompts))]
    return sample.contact_sheet(sample.draw(model, prompts, seeds, run.sample), prompts, columns=4)


def load_averaged(run: RunConfig, folder: Path) -> TextToLatent:
    """Return the averaged weights of the last phase."""
    phase = run.denoiser.phases[-1]
    model = _create(run, phase, folder)
    state = loop.read_checkpoint(folder, stage_name(phase))
    model.load_state_dict(state["modules"]["averaged"])
    return model.eval().requires_grad_(False)
