"""The training loop."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training import loop
from training.config import OptimiserConfig

OPTIMISER = OptimiserConfig(learning_rate=0.1, warmup_steps=2, decay_share=0.5, final_ratio=0.0)


def linear_stage(steps: int) -> loop.Stage:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def losses(step: int) -> dict[str, Tensor]:
        inputs = torch.randn(4, 3, generator=loop.step_generator(1, step))
        return {"loss": (model(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()}

    optimiser = OPTIMISER.model_copy(update={"decay_share": 0.0})
    return loop.Stage(
        "line", {"model": model}, list(model.parameters()), losses, optimiser, steps, 4
    )


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.5), (1, 1.0), (5, 1.0), (10, 1.0), (15, 0.5), (20, 0.0)]
)
def test_rate_warms_up_stays_and_falls(step: int, expected: float) -> None:
    assert loop.rate_factor(step, 20, OPTIMISER) == pytest.approx(expected)


def test_a_resumed_run_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole = linear_stage(20)
    loop.run(whole, tmp_path / "whole", checkpoint_seconds=60)
    loop.run(linear_stage(7), tmp_path / "parts", checkpoint_seconds=60)
    resumed = linear_stage(20)
    loop.run(resumed, tmp_path / "parts", checkpoint_seconds=60)
    assert torch.equal(whole.modules["model"].weight, resumed.modules["model"].weight)


def test_log_has_one_line_a_stretch_after_a_break(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOG_STEPS", 2)
    loop.run(linear_stage(4), tmp_path, checkpoint_seconds=60)
    with (tmp_path / "line.jsonl").open("a") as log:
        log.write(json.dumps({"step": 6}) + "\n")
    loop.run(linear_stage(8), tmp_path, checkpoint_seconds=60)
    lines = [json.loads(line) for line in (tmp_path / "line.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert all(line["samples"] == line["step"] * 4 for line in lines)


def test_steps_draw_different_numbers() -> None:
    first, again, other = (
        torch.rand(4, generator=loop.step_generator(seed, step))
        for seed, step in [(1, 5), (1, 5), (1, 6)]
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
