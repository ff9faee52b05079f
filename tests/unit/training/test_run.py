"""A whole run, from pictures to a model that draws; and one that learns something."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from pydantic import ValidationError

from support.commands import wait_until
from support.tiny_training import ROWS, as_toml, beside, learn, leave_data, tiny_run, tiny_unet
from training import autoencoder, denoiser, parallel, text, tokenizer
from training.config import RunConfig
from training.loop import read_checkpoint
from training.run import first_stages, make
from training.sample import Model, draw, draw_latents, load

# diffusers' schedulers meet NumPy 2 with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PHASES = ({"name": "low", "steps": 2, "image_size": 32}, {"name": "solver", "steps": 2})
CAPTIONS = ("a red apple", "a pear")
SEEDS = (1, 2, 3, 4)


def test_a_run_leaves_a_model_that_draws_the_same_picture_twice(tmp_path: Path) -> None:
    run = tiny_run(*PHASES)
    leave_data(run, ROWS, tmp_path / "work")
    (tmp_path / "work" / "denoiser-another.jsonl").write_text("not of this run", "utf-8")

    make(run, tmp_path / "work", tmp_path / "no-downloads", tmp_path / "model")

    both = draw(load(tmp_path / "model"), ["a pear", "a pear"], [7, 7], run.sample)
    assert both.shape == (2, 64, 64, 3)
    assert (both[0] == both[1]).all()
    record = json.loads((tmp_path / "model" / "training.json").read_text("utf-8"))
    stages = {"autoencoder", "text", "denoiser-low", "denoiser-solver", "decoder"}
    assert set(record["stages"]) == stages
    assert {path.name for path in (tmp_path / "work" / "tensorboard").iterdir()} == stages


def test_a_run_that_is_interrupted_leaves_no_process_and_says_how_to_go_on(tmp_path: Path) -> None:
    """Its first process alone is, as by a supervisor."""
    run = tiny_run({"name": "low", "steps": 2}, processes=2)
    endless = run.autoencoder.model_copy(update={"steps": 1_000_000})
    run = run.model_copy(update={"autoencoder": endless})
    config, work = tmp_path / "run.toml", tmp_path / run.name
    config.write_text(as_toml(run), "utf-8")
    leave_data(run, ROWS, work)
    process = subprocess.Popen(
        [sys.executable, "-m", "training.run", config, "--work", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until((work / "autoencoder.jsonl").exists)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()

    assert process.returncode == 130
    assert output.splitlines()[-1] == f"{work}: was stopped; the same command goes on"
    assert "Traceback" not in output
    assert len(children) >= 2
    assert not psutil.wait_procs(children, timeout=20)[1]


def test_the_small_models_run_is_well_formed() -> None:
    configs = Path(parallel.__file__).parent / "configs"
    run = RunConfig.read(configs / "emoji-64.toml")
    assert [phase.name for phase in run.denoiser.phases] == ["low", "high", "better", "solver"]
    assert all(phase.batch % run.processes == 0 for phase in run.distilled().denoiser.phases)


def test_a_tiny_run_learns_two_captions(tmp_path: Path) -> None:
    phase = {"batch": 16, "optimiser": {"learning_rate": 4e-3, "warmup_steps": 10}}
    run = tiny_run(
        {**phase, "name": "all", "steps": 200, "ema_decay": 0.95},
        {**phase, "name": "solver", "steps": 60, "ema_decay": 0.95, "solver_share": 1.0},
        text={**phase, "steps": 40},
    ).with_denoiser(denoiser=tiny_unet(32))

    latents = learn(run, ROWS[:2], tmp_path)

    networks = denoiser.load_averaged(run, tmp_path)
    model = Model(tokenizer.load(tmp_path / "tokenizer"), networks, None)
    for own, caption in enumerate(CAPTIONS):
        drawn = draw_latents(model, [caption] * len(SEEDS), SEEDS, run.sample)
        distances = torch.cdist(drawn.flatten(1), latents.flatten(1))
        assert (distances[:, own] < distances[:, 1 - own]).all()


def test_no_processes_are_refused() -> None:
    run = tiny_run({"name": "only", "steps": 1})
    nobody = run.autoencoder.model_dump() | {"processes": 0}
    for section in ({"processes": 0}, {"autoencoder": nobody}):
        with pytest.raises(ValidationError, match="greater than or equal to 1"):
            RunConfig.model_validate(run.model_dump() | section)


def test_the_texts_lesson_is_the_same_whatever_the_denoiser_is(tmp_path: Path) -> None:
    run = tiny_run({"name": "only", "steps": 1})
    work = tmp_path / "work"
    leave_data(run, ROWS, work)
    autoencoder.train(run, work)

    lessons = []
    for name, width in (("narrow", 8), ("wide", 32)):
        folder = beside(work, tmp_path / name, "data", "tokenizer", "vae", autoencoder.LATENTS)
        text.train(run.with_denoiser(denoiser=tiny_unet(width)), folder)
        lessons.append(read_checkpoint(folder, "text")["modules"])

    narrow, wide = lessons
    for module, weights in narrow.items():
        for name, weight in weights.items():
            assert torch.equal(weight, wide[module][name]), name


@pytest.mark.timeout(300)  # two new processes import everything
def test_an_autoencoder_trains_in_as_many_processes_as_it_says(tmp_path: Path) -> None:
    """One process takes a batch of three, which two would not share."""
    run = tiny_run({"name": "only", "steps": 1}, processes=2)
    own = run.autoencoder.model_copy(update={"batch": 3, "processes": 1})
    work = tmp_path / "work"
    leave_data(run, ROWS, work)

    first_stages(run.model_copy(update={"autoencoder": own}), work, tmp_path / "no-downloads")

    assert read_checkpoint(work, "autoencoder")["step"] == own.steps
    assert read_checkpoint(work, "text")["step"] == run.text.steps


@pytest.mark.timeout(300)  # two new processes import everything
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    run = tiny_run({"name": "only", "steps": 3, "batch": 4})
    work = tmp_path / "work"
    leave_data(run, ROWS, work)
    autoencoder.train(run, work)
    text.train(run, work)
    inputs = ("data", "tokenizer", "vae", "text.pt", autoencoder.LATENTS)
    one, two = (beside(work, tmp_path / name, *inputs) for name in ("one", "two"))

    parallel.launch(1, denoiser.train, run, one)
    parallel.launch(2, denoiser.train, run, two)

    alone, together = (denoiser.load_averaged(run, folder).state_dict() for folder in (one, two))
    for name, weight in alone.items():
        assert torch.allclose(together[name], weight, atol=1e-5), name
    losses = [
        json.loads((folder / "denoiser-only.jsonl").read_text("utf-8"))["loss"]
        for folder in (one, two)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
