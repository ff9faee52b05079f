"""A model that learns to draw without guidance what another draws with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from support.tiny_training import (
    ROWS,
    beside,
    denoiser_calls,
    learn,
    leave_data,
    tiny_run,
    tiny_unet,
)
from training import autoencoder, denoiser, loop, tokenizer
from training.config import GuidanceConfig, RunConfig
from training.networks import TextToLatent
from training.noise_levels import solver
from training.run import main, make
from training.teacher import Teacher
from worker.diffusion.guidance import guide

# diffusers' schedulers meet NumPy 2 with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LESSON = {
    "steps": 200,
    "batch": 16,
    "optimiser": {"learning_rate": 4e-3, "warmup_steps": 10, "decay_share": 0.7},
}
RUN = tiny_run(
    {**LESSON, "name": "all", "steps": 160, "ema_decay": 0.95},
    distillation=LESSON,
    text={**LESSON, "steps": 40},
).with_denoiser(denoiser=tiny_unet(32))
INPUTS = ("data", "tokenizer", "vae", "text.pt", autoencoder.LATENTS, "denoiser-all.pt")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a tiny run leaves whose denoiser knows two captions."""
    folder = tmp_path_factory.mktemp("taught")
    learn(RUN, ROWS[:2], folder)
    return folder


@pytest.fixture
def teacher_networks(work: Path) -> TextToLatent:
    return denoiser.load_averaged(RUN, work)


def predictions(networks: TextToLatent, tokens: Tensor, timesteps: Tensor) -> Tensor:
    noisy = torch.randn(len(tokens), 2, 8, 8, generator=torch.Generator().manual_seed(3))
    found: Tensor = networks(noisy, timesteps, tokens)
    return found


def questions(work: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Return captions, no captions, and timesteps of the solver's own, for each of four."""
    words = tokenizer.load(work / "tokenizer")
    tokens = tokenizer.encode(words, ["a red apple", "a pear"] * 2)
    return tokens, tokenizer.encode(words, [""] * 4), solver(RUN.sample).timesteps[[0, 0, 4, 4]]


@pytest.mark.parametrize(("scale", "rescale"), [(4.0, 0.7), (2.0, 0.0), (1.0, 0.0)])
def test_a_teacher_predicts_what_guidance_makes_of_both_predictions(
    work: Path, teacher_networks: TextToLatent, scale: float, rescale: float
) -> None:
    tokens, empty, timesteps = questions(work)
    conditional = predictions(teacher_networks, tokens, timesteps)
    unconditional = predictions(teacher_networks, empty, timesteps)
    factors = (torch.tensor(value).view(1, 1, 1, 1) for value in (scale, rescale))
    expected = guide(unconditional, conditional, *factors)

    guidance = GuidanceConfig(guidance_scale=scale, guidance_rescale=rescale)
    teacher = Teacher(teacher_networks, empty[:1], guidance, autocast=False)
    noisy = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(3))
    found = teacher.velocity(noisy, timesteps, tokens)

    assert torch.allclose(found, expected, atol=1e-5)
    assert not found.requires_grad
    if scale == 1:
        assert torch.allclose(found, conditional, atol=1e-5)


def test_a_distilled_model_predicts_without_guidance_what_its_teacher_does_with_it(
    work: Path, teacher_networks: TextToLatent, tmp_path: Path
) -> None:
    folder = beside(work, tmp_path / "student", *INPUTS)
    run = RUN.distilled()
    before = loop.read_checkpoint(folder, "denoiser-all")["modules"]

    denoiser.train(run, folder)

    tokens, empty, timesteps = questions(work)
    # One drawing of noise may be far easier than another.
    tokens, timesteps = tokens.repeat(8, 1), timesteps.repeat(8)
    guidance = GuidanceConfig(
        **RUN.sample.model_dump(include={"guidance_scale", "guidance_rescale"})
    )
    teacher = Teacher(teacher_networks, empty[:1], guidance, autocast=False)
    noisy = torch.randn(len(tokens), 2, 8, 8, generator=torch.Generator().manual_seed(3))
    guided = teacher.velocity(noisy, timesteps, tokens)
    untaught = predictions(teacher_networks, tokens, timesteps)
    taught = predictions(denoiser.load_averaged(run, folder), tokens, timesteps)
    assert (taught - guided).square().mean() < 0.5 * (untaught - guided).square().mean()
    after = loop.read_checkpoint(folder, "denoiser-all")["modules"]
    for name, weight in before["averaged"].items():
        assert torch.equal(after["averaged"][name], weight), "a teacher learns nothing"


def test_a_distilled_run_trains_no_phase_again_and_leaves_a_model_without_guidance(
    tmp_path: Path,
) -> None:
    lesson = {**LESSON, "steps": 3, "batch": 2}
    run = tiny_run({"name": "all", "steps": 2}, distillation=lesson)
    leave_data(run, ROWS, tmp_path / "work")
    make(run, tmp_path / "work", tmp_path / "no-downloads", tmp_path / "model")

    with denoiser_calls() as (training, drawing):
        make(run.distilled(), tmp_path / "work", tmp_path / "no-downloads", tmp_path / "distilled")

    assert training.shapes == [(2, 2, 8, 8)] * 3
    # The teacher's guided predictions are of twice the batch, the drawings' are of one prompt each.
    assert drawing.shapes[:3] == [(4, 2, 8, 8)] * 3
    assert set(drawing.shapes[3:]) == {(len(run.sample_prompts), 2, 8, 8)}
    cards = [
        json.loads((tmp_path / name / "tenstep.json").read_text("utf-8"))
        for name in ("model", "distilled")
    ]
    assert [card["name"] for card in cards] == ["tiny", "tiny-distilled"]
    assert [card["sampler"]["guidance_scale"] for card in cards] == [4.0, 1.0]
    assert ["note" in card for card in cards] == [False, True]
    assert "a negative prompt changes nothing" in cards[1]["note"]
    assert cards[0]["weights_sha256"] != cards[1]["weights_sha256"]
    record = json.loads((tmp_path / "distilled" / "training.json").read_text("utf-8"))
    assert {"denoiser-all", "denoiser-all-distilled"} <= set(record["stages"])


def test_a_first_phase_has_no_teacher() -> None:
    with pytest.raises(
        ValidationError, match="phase only: no phase is before it to be its teacher"
    ):
        tiny_run({"name": "only", "steps": 1, "teacher": {}})


def test_a_run_without_the_section_is_not_distilled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = Path(denoiser.__file__).parent / "configs"
    whole = (configs / "emoji-64.toml").read_text("utf-8")
    path = tmp_path / "run.toml"
    path.write_text(whole.partition("[distillation]")[0], "utf-8")
    assert RunConfig.read(path).distillation is None
    monkeypatch.setattr(sys, "argv", ["run", str(path), "--work", str(tmp_path), "--distilled"])

    with pytest.raises(SystemExit):
        main()

    assert "run.toml: the run has no section [distillation]" in capsys.readouterr().err
