"""The training loop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training import loop
from training.config import OptimiserConfig, StageConfig

OPTIMISER = OptimiserConfig(learning_rate=0.1, warmup_steps=2, decay_share=0.5, final_ratio=0.0)


def linear_stage(steps: int, batch: int = 4, accumulate: int = 1) -> loop.Stage:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def numbers(step: int, part: slice) -> tuple[Tensor]:
        return (torch.randn(batch, 3, generator=loop.step_generator(1, step))[part],)

    def losses(network: nn.Module, inputs: Tensor) -> loop.Losses:
        return {"loss": (network(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()}

    optimiser = OPTIMISER.model_copy(update={"decay_share": 0.0})
    config = StageConfig(optimiser=optimiser, steps=steps, batch=batch, accumulate=accumulate)
    return loop.Stage("line", model, {"model": model}, numbers, losses, config)


def trained(folder: Path, stage: loop.Stage) -> Tensor:
    loop.run(stage, folder, checkpoint_seconds=60)
    return stage.network.get_parameter("weight").detach()


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.5), (1, 1.0), (5, 1.0), (10, 1.0), (15, 0.5), (20, 0.0)]
)
def test_rate_warms_up_stays_and_falls(step: int, expected: float) -> None:
    assert loop.rate_factor(step, 20, OPTIMISER) == pytest.approx(expected)


def test_a_resumed_run_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", linear_stage(20))
    trained(tmp_path / "parts", linear_stage(7))
    assert torch.equal(whole, trained(tmp_path / "parts", linear_stage(20)))


def test_a_finished_stage_has_its_weights_and_leaves_its_files(tmp_path: Path) -> None:
    first = trained(tmp_path, linear_stage(20))
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    assert torch.equal(first, trained(tmp_path, linear_stage(20)))
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    assert loop.is_finished("line", 20, tmp_path)
    assert not loop.is_finished("line", 21, tmp_path)


def test_accumulated_parts_descend_as_the_whole_batch(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", linear_stage(10, batch=6))
    parts = trained(tmp_path / "parts", linear_stage(10, batch=6, accumulate=3))
    assert torch.allclose(whole, parts, atol=1e-5)


def test_a_batch_has_to_split_evenly(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line: batch 4 is no multiple of 3"):
        loop.run(linear_stage(1, batch=4, accumulate=3), tmp_path, checkpoint_seconds=60)


def test_log_has_one_line_a_stretch_after_a_break(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOG_STEPS", 2)
    loop.run(linear_stage(4), tmp_path, checkpoint_seconds=60)
    with (tmp_path / "line.jsonl").open("a") as log:
        log.write(json.dumps({"step": 6}) + "\n")
    loop.run(linear_stage(7), tmp_path, checkpoint_seconds=60)
    lines = [json.loads(line) for line in (tmp_path / "line.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 7]
    assert all(line["samples"] == line["step"] * 4 for line in lines)


def test_steps_draw_different_numbers() -> None:
    first, again, other = (
        torch.rand(4, generator=loop.step_generator(seed, step))
        for seed, step in [(1, 5), (1, 5), (1, 6)]
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
