"""A whole run on a stream, from shards to a model that the engine draws with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from shared.domain.prompts import ImageSettings
from shared.errors import InputError
from shared.models.catalog import load_card
from support.tiny_stream import COLOURS, streamed_run, write_coloured_shards
from support.tiny_training import tiny_run
from training import autoencoder, denoiser, loop, tokenizer
from training.autoencoder import Reconstruction
from training.config import RunConfig, TokenizerConfig
from training.data.batches import open_stream
from training.decoder import LatentsToPictures
from training.networks import TextToLatent
from training.run import make, prepare
from worker.devices import Device
from worker.loading import load_pipeline

# diffusers' schedulers meet NumPy 2 with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STAGES = ("autoencoder", "text", "denoiser-low", "denoiser-high", "decoder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards in `shards`, and what a whole run made of them in `work` and `model`."""
    folder = tmp_path_factory.mktemp("streamed")
    write_coloured_shards(folder / "shards")
    run = streamed_run(folder / "shards")
    make(run, folder / "work", folder / "no-downloads", folder / "model")
    return folder


def test_the_engine_draws_with_the_model_of_a_stream(folder: Path) -> None:
    card = load_card(str(folder / "model"))
    pipeline = load_pipeline(card, Device.parse("cpu"), threads=1, manner="plain")
    sampler = card.sampler.model_dump()
    job = ImageSettings(prompt="a red picture", seed=7, width=32, height=32, **sampler)
    latents = pipeline.sample([job])
    assert latents.isfinite().all()
    assert pipeline.backend.decode(latents).shape == (1, 32, 32, 3)


def test_the_model_of_a_stream_says_whose_works_it_learned_from(folder: Path) -> None:
    model = folder / "model"
    assert load_card(str(model)).licence == "CC0-1.0"
    notice = (model / "NOTICE").read_text("utf-8")
    assert "licensed under: CC0-1.0" in notice
    assert "Colours by Ada Example, CC0." in notice
    record = json.loads((model / "training.json").read_text("utf-8"))
    assert record["config"]["data"]["paths"] == ["{000..001}.tar"]
    assert record["data"] == {"shards": 2}
    assert set(record["stages"]) == set(STAGES)
    files = [path for path in model.rglob("*") if path.is_file()]
    assert not [path for path in files if str(folder).encode() in path.read_bytes()]


def test_streamed_latents_are_standardised(folder: Path) -> None:
    run = streamed_run(folder / "shards")
    stream = open_stream(run.data, run.seed)
    images = torch.stack([image for image, _ in stream.epoch(0)])
    vae = autoencoder.load(folder / "work" / "vae")
    latents = autoencoder.encode_on_device(vae, images)
    assert latents.shape == (len(COLOURS), 2, 4, 4)
    assert torch.allclose(latents.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-3)


def test_a_streamed_run_that_was_stopped_ends_in_the_same_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOG_STEPS", 1)
    run = streamed_run(folder / "shards", checkpoint_seconds=0.0)

    for kind in (Reconstruction, TextToLatent, LatentsToPictures):
        with pytest.raises(KeyboardInterrupt), breaks_off_in_second_call(kind):
            make(run, tmp_path / "work", tmp_path / "no-downloads", tmp_path / "model")
    make(run, tmp_path / "work", tmp_path / "no-downloads", tmp_path / "model")

    for stage in STAGES:
        found, expected = (
            loop.read_checkpoint(work, stage) for work in (tmp_path / "work", folder / "work")
        )
        assert found["step"] == expected["step"]
        for module, weights in expected["modules"].items():
            for name, weight in weights.items():
                assert torch.equal(found["modules"][module][name], weight), (stage, name)
    for weights in (folder / "model").rglob("*.safetensors"):
        again = tmp_path / "model" / weights.relative_to(folder / "model")
        assert again.read_bytes() == weights.read_bytes()


@contextmanager
def breaks_off_in_second_call(kind: type[nn.Module]) -> Iterator[None]:
    """Interrupt training when networks of a kind are called a second time."""
    calls = count(1)

    def interrupt(module: nn.Module, inputs: object) -> None:
        if isinstance(module, kind) and module.training and next(calls) == 2:
            raise KeyboardInterrupt

    hook = register_module_forward_pre_hook(interrupt)
    try:
        yield
    finally:
        hook.remove()


def test_parts_of_a_streamed_batch_are_the_whole_of_it(folder: Path) -> None:
    phase = {"name": "only", "steps": 3, "batch": 6, "image_size": 32}
    whole, halves = (
        denoiser.PhaseData(
            streamed_run(folder / "shards", {**phase, "accumulate": accumulate}),
            0,
            folder / "work",
        )
        for accumulate in (1, 2)
    )
    # Two processes ask for the same parts, each for one of them.
    parts = [slice(first, None, 2) for first in (0, 1)]
    for step in (0, 1, 4):
        expected = whole.batch(step, slice(0, None, 1))
        assert expected[0].shape == (6, 2, 4, 4)
        for part in parts:
            for found, tensor in zip(halves.batch(step, part), expected, strict=True):
                assert torch.allclose(found, tensor[part], atol=1e-5)


def test_captions_are_dropped_for_guidance(folder: Path) -> None:
    phase = {"name": "only", "steps": 1, "batch": 200, "image_size": 32}
    run = streamed_run(folder / "shards", phase)
    words = tokenizer.load(folder / "work" / "tokenizer")

    tokens = denoiser.PhaseData(run, 0, folder / "work").batch(0, slice(0, None, 1))[3]

    texts = [words.decode(ids, skip_special_tokens=True) for ids in tokens]
    assert 8 < texts.count("") < 40
    assert set(texts) == {"", *(f"a picture that is {colour}" for colour in COLOURS)}


# Tokenizers


def test_a_tokenizer_learns_from_the_first_captions(folder: Path, tmp_path: Path) -> None:
    settings = {"vocabulary": 700, "max_tokens": 24, "captions": 3}
    prepare(streamed_run(folder / "shards", tokenizer=settings), tmp_path, tmp_path)
    words = tokenizer.load(tmp_path / "tokenizer")
    assert words.tokenize("picture blue") == ["picture</w>", "blue</w>"]
    assert len(words.tokenize("purple")) > 1


@pytest.mark.parametrize("names", [("vocab.json", "merges.txt"), ("tokenizer.json",)])
def test_a_tokenizers_folder_is_taken_for_prompts_of_the_runs_length(
    folder: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    (tmp_path / "clip").mkdir()
    for name in (*names, "tokenizer_config.json"):
        content = (folder / "work" / "tokenizer" / name).read_bytes()
        (tmp_path / "clip" / name).write_bytes(content)
    tokenizer.adopt(TokenizerConfig(max_tokens=9, folder=str(tmp_path / "clip")), tmp_path / "own")
    words = tokenizer.load(tmp_path / "own")
    expected = tokenizer.load(folder / "work" / "tokenizer")
    assert words.get_vocab() == expected.get_vocab()
    assert tokenizer.encode(words, ["a picture that is red"]).shape == (1, 9)
    for path in (tmp_path / "own").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


def test_a_folder_without_a_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    run = streamed_run(folder / "shards", tokenizer={"folder": str(folder / "shards")})
    with pytest.raises(InputError, match="shards: is no folder of a CLIP tokenizer"):
        prepare(run, tmp_path, tmp_path)


# Configurations


def changed_data(folder: Path, **changed: object) -> dict[str, object]:
    return {**streamed_run(folder / "shards").data.model_dump(), **changed}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"licence": ""}, 'source = "webdataset" needs licence'),
        ({"notice": ""}, 'source = "webdataset" needs notice'),
        ({"paths": ()}, 'source = "webdataset" needs paths'),
        ({"core_weight": 2.0}, 'core_weight is for source = "emoji"'),
        ({"source": "emoji"}, 'paths, licence, notice are for source = "webdataset" or "folder"'),
    ],
)
def test_data_settings_that_do_not_fit_are_refused(
    folder: Path, changed: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        tiny_run({"name": "only", "steps": 1}, data=changed_data(folder, **changed))


@pytest.mark.parametrize("setting", [{"concepts": "core"}, {"core_weight": 2.0}])
def test_phases_of_a_stream_have_no_core_concepts(folder: Path, setting: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="phase only: concepts and core_weight are for emoji"):
        streamed_run(folder / "shards", {"name": "only", "steps": 1, **setting})


def test_a_missing_notice_is_found_before_the_training(folder: Path, tmp_path: Path) -> None:
    data = changed_data(folder, notice=str(tmp_path / "none.txt"))
    run = RunConfig.model_validate({**streamed_run(folder / "shards").model_dump(), "data": data})
    with pytest.raises(InputError, match=r"none\.txt: No such file"):
        prepare(run, tmp_path, tmp_path)
