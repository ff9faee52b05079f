"""The training loop that every stage shares: learning rate, devices, checkpoints, records.

Stopping and going on changes nothing in the weights, and the number of processes no more than the
order in which numbers are summed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from training import parallel
from training.config import OptimiserConfig, StageConfig
from training.journal import Journal

logger = logging.getLogger(__name__)

#: Every so many steps the mean losses are logged.
LOG_STEPS = 50
_SEED_STRIDE = 1_000_003

Losses = dict[str, Tensor]
"""Mean losses of a part of a batch, each (); "loss" is minimised, the others are only logged."""


@dataclass
class Stage:
    """What one training stage is made of."""

    name: str
    network: nn.Module
    """All that is trained."""
    modules: Mapping[str, nn.Module]
    """All that a checkpoint must hold."""
    batch: Callable[[int, slice], tuple[Tensor, ...]]
    """Makes a part of a step's batch, tensors (B, ...) in RAM or on the device, from the step's
    number and the part alone, one of `parallel.parts`. All randomness comes from `step_generator`
    and is drawn for the whole batch: the parts are the same however many there are."""
    losses: Callable[..., Losses]
    """Takes the network, as it is wrapped for the processes and the device, and a part of a
    batch on that device."""
    config: StageConfig
    after_step: Callable[[int], None] | None = None
    """Is told how many steps are done; in the main process alone."""
    draw: Callable[[], Image.Image] | None = None
    """Shows what the networks draw now; in the main process alone, at the stage's end."""
    draw_seconds: float = 0.0
    """How often it is called before that; 0 never."""


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return all randomness of one step: a resumed run draws what an unbroken one would."""
    return torch.Generator().manual_seed(seed * _SEED_STRIDE + step)


def rate_factor(step: int, steps: int, config: OptimiserConfig) -> float:
    """Return the part of the learning rate used at a step: warm-up, constant, then a linear fall.

    The constant stretch does not depend on where the run ends, so a run may be lengthened or cut
    short on its way.
    """
    warm_up = min(1.0, (step + 1) / max(1, config.warmup_steps))
    falling = max(1.0, steps * config.decay_share)
    left = min(1.0, (steps - step) / falling)
    return min(warm_up, config.final_ratio + (1.0 - config.final_ratio) * left)


def run(stage: Stage, folder: Path, checkpoint_seconds: float, *, autocast: bool = False) -> None:
    """Train a stage to its end, from its last checkpoint if there is one.

    Afterwards its modules hold the weights, on the device that they were trained on.

    Raises:
        ValueError: the batch does not split evenly.
    """
    folder.mkdir(parents=True, exist_ok=True)
    training = _Training(stage, folder, checkpoint_seconds, autocast=autocast)
    if training.step < stage.config.steps:
        training.to_the_end()
    training.accelerator.wait_for_everyone()


def is_finished(name: str, steps: int, folder: Path) -> bool:
    """Tell whether a stage's checkpoint is of its last step."""
    path = _checkpoint(folder, name)
    if not path.exists():
        return False
    state: dict[str, Any] = torch.load(path, mmap=True, weights_only=True)
    return int(state["step"]) >= steps


def read_checkpoint(folder: Path, name: str) -> dict[str, Any]:
    """Return a stage's checkpoint: step, seconds, modules and optimiser, tensors in RAM."""
    path = _checkpoint(folder, name)
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _checkpoint(folder: Path, name: str) -> Path:
    return folder / f"{name}.pt"


class _Training:
    """A stage on its way."""

    def __init__(
        self, stage: Stage, folder: Path, checkpoint_seconds: float, *, autocast: bool
    ) -> None:
        config = stage.config
        self.stage, self.folder, self.checkpoint_seconds = stage, folder, checkpoint_seconds
        self.accelerator = parallel.accelerator(autocast=autocast, accumulate=config.accumulate)
        count = self.accelerator.num_processes * config.accumulate
        if config.batch % count:
            raise ValueError(f"{stage.name}: batch {config.batch} is no multiple of {count}")
        self.parts = parallel.parts(config.accumulate)
        for module in stage.modules.values():
            module.to(self.accelerator.device)
        optimiser = torch.optim.AdamW(
            stage.network.parameters(),
            lr=config.optimiser.learning_rate,
            betas=config.optimiser.betas,
            weight_decay=config.optimiser.weight_decay,
            fused=True,
        )
        self.step, self.seconds = 0, 0.0
        self._restore(optimiser)
        self.network, self.optimiser = self.accelerator.prepare(stage.network, optimiser)

    def to_the_end(self) -> None:
        """Take all steps that are left, and write down how they went."""
        stage = self.stage
        means = _Means()
        drawn = saved = time.monotonic()
        began = saved - self.seconds
        journal = self._journal()
        while self.step < stage.config.steps:
            rate = self._take_step(means)
            is_last = self.step == stage.config.steps
            if self.step % LOG_STEPS and not is_last:
                continue
            losses = means.take(self.accelerator)
            if journal is None:
                continue
            now = time.monotonic()
            self.seconds = now - began
            journal.write(self.step, self.seconds, rate, losses)
            if stage.draw and (is_last or 0 < stage.draw_seconds <= now - drawn):
                journal.draw(self.step, stage.draw())
                drawn = now
            if is_last or now - saved >= self.checkpoint_seconds:
                self._save()
                saved = now
        if journal is not None:
            journal.close()

    def _take_step(self, means: _Means) -> float:
        """Descend along one batch's gradient; return the learning rate."""
        stage, accelerator, optimiser = self.stage, self.accelerator, self.optimiser
        config = stage.config.optimiser
        rate = config.learning_rate * rate_factor(self.step, stage.config.steps, config)
        for group in optimiser.param_groups:
            group["lr"] = rate
        for part in self.parts:
            batch = [tensor.to(accelerator.device) for tensor in stage.batch(self.step, part)]
            with accelerator.accumulate(self.network):
                losses = stage.losses(self.network, *batch)
                accelerator.backward(losses["loss"])
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(self.network.parameters(), config.clip_norm)
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
            means.add(losses)
        self.step += 1
        if stage.after_step and accelerator.is_main_process:
            stage.after_step(self.step)
        return rate

    def _journal(self) -> Journal | None:
        if not self.accelerator.is_main_process:
            return None
        stage = self.stage
        return Journal(self.folder, stage.name, stage.config.batch, self.step, self.seconds)

    def _restore(self, optimiser: torch.optim.Optimizer) -> None:
        name = self.stage.name
        if not _checkpoint(self.folder, name).exists():
            return
        state = read_checkpoint(self.folder, name)
        for key, module in self.stage.modules.items():
            module.load_state_dict(state["modules"][key])
        optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        logger.info("%s: going on from step %d", name, self.step)

    def _save(self) -> None:
        modules = self.stage.modules.items()
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "modules": {name: module.state_dict() for name, module in modules},
            "optimiser": self.optimiser.state_dict(),
        }
        path = _checkpoint(self.folder, self.stage.name)
        scratch = path.with_suffix(".tmp")
        torch.save(state, scratch)
        scratch.replace(path)


class _Means:
    """Mean losses since they were last taken."""

    def __init__(self) -> None:
        self._sums: Losses = {}
        self._count = 0

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Take a part's losses in; they stay on their device, for it is slow to wait for it."""
        self._count += 1
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach().float()

    def take(self, accelerator: Any) -> dict[str, float]:
        """Return the means over all processes, and begin anew."""
        means = {
            name: float(accelerator.reduce(total / self._count, reduction="mean"))
            for name, total in self._sums.items()
        }
        self._sums, self._count = {}, 0
        return means
