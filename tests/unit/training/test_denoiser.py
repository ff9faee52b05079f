"""Captions that the denoiser is trained on, and the phases of its training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import CLIPTokenizer

from shared.domain.sampling import SchedulerName
from support.tiny_training import (
    OPTIMISER,
    ROWS,
    beside,
    denoiser_calls,
    leave_data,
    tiny_run,
)
from training import autoencoder, denoiser, loop, text, tokenizer
from training.config import TokenizerConfig
from training.data.captions import all_captions
from training.data.dataset import choose, load_dataset, sampling_weights
from training.data.deck import CaptionDeck
from training.export import card
from worker.diffusion.solvers import plot_course
from worker.models.unet import UNetNAS

# diffusers' schedulers meet NumPy 2 with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RUN = tiny_run({"name": "only", "steps": 2})
SOLVER = {"solver_share": 1.0}
INPUTS = ("data", "tokenizer", "vae", "text.pt", autoencoder.LATENTS)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("words")
    texts = [text for row in ROWS for text in all_captions(row.names, row.style)]
    tokenizer.train(texts, TokenizerConfig(vocabulary=700, max_tokens=24), folder)
    return tokenizer.load(folder)


def test_deck_deals_captions_of_the_chosen_pictures(words: CLIPTokenizer) -> None:
    deck = CaptionDeck(ROWS, words, dropout=0.0)
    tokens = deck.deal(torch.tensor([1] * 50), torch.Generator().manual_seed(0))
    texts = {words.decode(ids, skip_special_tokens=True) for ids in tokens}
    assert len(texts) > 5
    assert all("pear" in text for text in texts)


def test_deck_drops_captions_for_guidance(words: CLIPTokenizer) -> None:
    deck = CaptionDeck(ROWS, words, dropout=0.25)
    tokens = deck.deal(torch.zeros(400, dtype=torch.int64), torch.Generator().manual_seed(0))
    empty = (tokens[:, 1:] == words.eos_token_id).all(dim=1)
    assert 0.15 < empty.float().mean() < 0.35


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, tokenizer, autoencoder, latents and the text encoder's lesson of a tiny run."""
    folder = tmp_path_factory.mktemp("tiny")
    leave_data(RUN, ROWS, folder)
    autoencoder.train(RUN, folder)
    text.train(RUN, folder)
    return folder


def test_latents_are_standardised(work: Path) -> None:
    latents = torch.load(work / autoencoder.LATENTS, weights_only=True)
    assert latents.shape == (3, 2, 8, 8)
    assert torch.allclose(latents.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-4)
    assert (latents.std(dim=(0, 2, 3)) < 1.01).all()


def test_a_phase_at_a_lower_resolution_sees_smaller_latents(work: Path, tmp_path: Path) -> None:
    folder = beside(work, tmp_path / "sizes", *INPUTS)
    phases = tiny_run({"name": "low", "steps": 3, "image_size": 32}, {"name": "high", "steps": 2})

    with denoiser_calls() as (training, drawing):
        denoiser.train(phases, folder)

    assert training.shapes == [(2, 2, 4, 4)] * 3 + [(2, 2, 8, 8)] * 2
    assert set(drawing.shapes) == {(2, 2, 4, 4), (2, 2, 8, 8)}
    assert torch.load(folder / "latents-32.pt", weights_only=True).shape == (3, 2, 4, 4)
    sheets = sorted(path.name for path in (folder / "samples").iterdir())
    assert sheets == ["denoiser-high-2.png", "denoiser-low-3.png"]


def test_only_core_concepts_are_chosen_if_a_phase_asks(work: Path) -> None:
    data = load_dataset(work / "data")
    weights = sampling_weights(data, 3.0, only_core=True)
    chosen = choose(weights, 100, torch.Generator().manual_seed(0))
    assert set(chosen.tolist()) == {0, 2}
    assert sampling_weights(data, 3.0).tolist() == [3.0, 1.0, 3.0]


def test_a_fine_tune_touches_the_solvers_noise_levels_alone_and_all(
    work: Path, tmp_path: Path
) -> None:
    folder = beside(work, tmp_path / "solver", *INPUTS)
    tuned = tiny_run({"name": "solver", "steps": 30, **SOLVER})

    with denoiser_calls() as (training, drawing):
        denoiser.train(tuned, folder)

    assert set(training.timesteps) == set(drawing.timesteps)
    sampler = card(tuned)["sampler"]
    course = plot_course({}, SchedulerName.DPM_SOLVER, sampler["steps"], sampler["squeeze"])
    assert sorted(set(training.timesteps), reverse=True) == course.timesteps


def test_a_control_goes_on_from_the_same_weights_at_all_noise_levels(
    work: Path, tmp_path: Path
) -> None:
    folder = beside(work, tmp_path / "control", *INPUTS)
    tuned = tiny_run({"name": "high", "steps": 1}, {"name": "solver", "steps": 30, **SOLVER})
    denoiser.train(tuned.until("high"), folder)

    with denoiser_calls() as (training, drawing):
        denoiser.train(tuned.control(), folder)

    assert len(training.timesteps) == 60, "the phase before is not trained again"
    assert len(set(training.timesteps) - set(drawing.timesteps)) > 30
    denoiser.train(tuned, folder)
    both = [
        loop.read_checkpoint(folder, f"denoiser-{name}") for name in ("solver-control", "solver")
    ]
    assert [one["step"] for one in both] == [30, 30]


def test_resumed_phases_end_in_the_same_weights(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOG_STEPS", 2)
    phases = tiny_run(
        {"name": "low", "steps": 5, "image_size": 32},
        {"name": "high", "steps": 6, "loss_weighting": "min-snr", "ema_decay": 0.9},
        {"name": "taught", "steps": 4, "teacher": {}, "ema_decay": 0.9},
        checkpoint_seconds=0.0,
    )
    whole = beside(work, tmp_path / "whole", *INPUTS)
    denoiser.train(phases, whole)

    # Breaks off within the first phase, after its end, within the second and the third one.
    broken = beside(work, tmp_path / "broken", *INPUTS)
    for calls in (4, 3, 4, 6):
        with pytest.raises(KeyboardInterrupt), breaks_off_in_call(calls):
            denoiser.train(phases, broken)
    denoiser.train(phases, broken)

    for name in ("denoiser-low", "denoiser-high", "denoiser-taught"):
        expected, found = (loop.read_checkpoint(folder, name) for folder in (whole, broken))
        assert_same_tensors(found["modules"], expected["modules"])
        assert_same_tensors(found["optimiser"], expected["optimiser"])
        assert steps_logged(broken, name) == steps_logged(whole, name)
    averaged, model = (loop.read_checkpoint(whole, name)["modules"][kind] for name, kind in KINDS)
    assert any(not torch.equal(averaged[name], weight) for name, weight in model.items())


def test_a_phase_goes_on_from_the_weights_before(work: Path, tmp_path: Path) -> None:
    folder = beside(work, tmp_path / "on", *INPUTS)
    still = {"optimiser": {**OPTIMISER, "learning_rate": 0.0}, "ema_decay": 1.0}
    phases = tiny_run({"name": "first", "steps": 3}, {"name": "then", "steps": 2, **still})

    denoiser.train(phases, folder)

    first, then = (loop.read_checkpoint(folder, f"denoiser-{name}") for name in ("first", "then"))
    assert_same_tensors(then["modules"], first["modules"])


def test_a_finished_phase_is_not_run_again(work: Path, tmp_path: Path) -> None:
    folder = beside(work, tmp_path / "twice", *INPUTS)
    denoiser.train(RUN, folder)

    with denoiser_calls() as (training, drawing):
        denoiser.train(RUN, folder)

    assert not training.timesteps + drawing.timesteps


def test_bfloat16_trains_weights_of_float32(work: Path, tmp_path: Path) -> None:
    folder = beside(work, tmp_path / "bfloat16", *INPUTS)
    AcceleratorState._reset_state()
    try:
        denoiser.train(RUN.model_copy(update={"autocast": True}), folder)
    finally:
        AcceleratorState._reset_state()

    model = denoiser.load_averaged(RUN, folder)
    assert all(weight.isfinite().all() for weight in model.parameters())
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([{"name": "a", "image_size": 24}], "phase a: image_size 24 is no multiple of 16 up to 64"),
        ([{"name": "a", "image_size": 128}], "phase a: image_size 128 is no multiple"),
        ([{"name": "a", "image_size": 32}], "the last phase has to train on full-size pictures"),
        ([{"name": "a"}, {"name": "a"}], "phases need names of their own, not a, a"),
        ([{"name": "../a"}], "should match pattern"),
        ([], "at least 1 item"),
    ],
)
def test_phases_that_do_not_fit_are_refused(phases: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        tiny_run(*({"steps": 1, **phase} for phase in phases))


KINDS = [("denoiser-high", "averaged"), ("denoiser-high", "model")]


@contextmanager
def breaks_off_in_call(number: int) -> Iterator[None]:
    """Interrupt training when a denoiser is called so often."""
    calls = count(1)

    def interrupt(module: nn.Module, inputs: object) -> None:
        if isinstance(module, UNetNAS) and module.training and next(calls) == number:
            raise KeyboardInterrupt

    hook = register_module_forward_pre_hook(interrupt)
    try:
        yield
    finally:
        hook.remove()


def assert_same_tensors(found: Any, expected: Any) -> None:
    """Compare nested documents, tensors to the bit."""
    if isinstance(expected, Tensor):
        assert torch.equal(found, expected)
    elif isinstance(expected, Mapping):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_same_tensors(found[key], value)
    elif isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            assert_same_tensors(one, other)
    else:
        assert found == expected


def steps_logged(folder: Path, name: str) -> list[tuple[int, float]]:
    lines = (folder / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [(line["step"], line["loss"]) for line in map(json.loads, lines)]
