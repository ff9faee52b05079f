"""The training loop that every stage shares: learning rate, checkpoints, log.

Stopping and going on changes nothing in the weights.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training import parallel
from training.config import OptimiserConfig

logger = logging.getLogger(__name__)

#: Every so many steps the mean losses are logged.
LOG_STEPS = 50
_SEED_STRIDE = 1_000_003


@dataclass
class Stage:
    """What one training stage is made of.

    `losses` computes a step's losses from the step's number alone (its randomness comes from
    `step_generator`); the one called "loss" is minimised, the others are only logged. `modules` is
    everything a checkpoint must hold.
    """

    name: str
    modules: Mapping[str, nn.Module]
    parameters: list[nn.Parameter]
    losses: Callable[[int], dict[str, Tensor]]
    optimiser: OptimiserConfig
    steps: int
    batch: int
    after_step: Callable[[int], None] | None = None


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


def run(stage: Stage, folder: Path, checkpoint_seconds: float) -> None:
    """Train a stage to its end, from its last checkpoint if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    optimiser = torch.optim.AdamW(
        stage.parameters,
        lr=stage.optimiser.learning_rate,
        betas=stage.optimiser.betas,
        weight_decay=stage.optimiser.weight_decay,
        fused=True,
    )
    path, log = folder / f"{stage.name}.pt", folder / f"{stage.name}.jsonl"
    step, seconds = _restore(path, stage, optimiser)
    if not parallel.rank():
        _forget_after(log, step)
    sums: dict[str, float] = {}
    started = saved = time.monotonic()
    while step < stage.steps:
        losses = stage.losses(step)
        rate = stage.optimiser.learning_rate * rate_factor(step, stage.steps, stage.optimiser)
        _descend(losses["loss"], stage, optimiser, rate)
        step += 1
        if stage.after_step:
            stage.after_step(step)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach()) / LOG_STEPS
        if step % LOG_STEPS or parallel.rank():
            continue
        now = time.monotonic()
        line = {
            "step": step,
            "samples": step * stage.batch,
            "seconds": round(seconds + now - started, 1),
            "rate": round(rate, 7),
        }
        _log(log, line, sums)
        sums = {}
        if now - saved > checkpoint_seconds:
            _save(path, stage, optimiser, step, seconds + now - started)
            saved = now
    if not parallel.rank():
        _save(path, stage, optimiser, step, seconds + time.monotonic() - started)


def _descend(loss: Tensor, stage: Stage, optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(stage.parameters, stage.optimiser.clip_norm)
    optimiser.step()


def _restore(path: Path, stage: Stage, optimiser: torch.optim.Optimizer) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    state: dict[str, Any] = torch.load(path, weights_only=True)
    for name, module in stage.modules.items():
        module.load_state_dict(state["modules"][name])
    optimiser.load_state_dict(state["optimiser"])
    logger.info("%s: going on from step %d", stage.name, state["step"])
    return int(state["step"]), float(state["seconds"])


def _save(
    path: Path, stage: Stage, optimiser: torch.optim.Optimizer, step: int, seconds: float
) -> None:
    state = {
        "step": step,
        "seconds": seconds,
        "modules": {name: module.state_dict() for name, module in stage.modules.items()},
        "optimiser": optimiser.state_dict(),
    }
    scratch = path.with_suffix(".tmp")
    torch.save(state, scratch)
    scratch.replace(path)


def _forget_after(path: Path, step: int) -> None:
    """Drop the lines of steps that were lost with a run that broke off."""
    if path.exists():
        lines = path.read_text("utf-8").splitlines(keepends=True)
        path.write_text(
            "".join(line for line in lines if json.loads(line)["step"] <= step), "utf-8"
        )


def _log(path: Path, line: Mapping[str, float], losses: Mapping[str, float]) -> None:
    document = {**line, **{name: round(value, 5) for name, value in losses.items()}}
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(document) + "\n")
    logger.info("%s %s", path.stem, document)
