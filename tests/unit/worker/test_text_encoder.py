"""Our text encoder computes what transformers' does, under today's and published names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel

from shared.models.catalog import load_card
from support.families import Family, write_family
from worker.models.networks import load_networks
from worker.models.text_encoder import TextEncoder, TextEncoderConfig

TOLERANCE = 1e-6
PREFIX = "text_model."


@pytest.fixture(params=["sd-1.5", "sd-2.1"], ids=["quick_gelu", "gelu"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    family: Family = request.param
    folder = write_family(family, tmp_path / "model")
    path = folder / "text_encoder" / "model.safetensors"
    # Fresh biases are zero and norms one, which would hide one that is left out.
    generator = torch.Generator().manual_seed(3)
    state = {
        name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in load_file(path).items()
    }
    save_file(state, path, metadata={"format": "pt"})
    return folder


def ours(folder: Path, token_ids: Tensor) -> Tensor:
    with torch.inference_mode():
        tokens: Tensor = load_networks(load_card(str(folder))).text_encoder(token_ids)
    return tokens


def some_ids() -> Tensor:
    return torch.randint(190, (3, 77), generator=torch.Generator().manual_seed(4))


def test_text_tokens_agree_with_transformers(folder: Path) -> None:
    theirs = CLIPTextModel.from_pretrained(folder / "text_encoder")
    with torch.inference_mode():
        expected = theirs(some_ids()).last_hidden_state

    found = ours(folder, some_ids())

    assert float(expected.std()) > 0.1
    assert float((found - expected).abs().max()) < TOLERANCE * float(expected.abs().max())


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_published_names_are_those_of_the_same_tensors(folder: Path, suffix: str) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    expected = ours(folder, some_ids())
    state = {PREFIX + name.removeprefix(PREFIX): tensor for name, tensor in load_file(path).items()}
    state[f"{PREFIX}embeddings.position_ids"] = torch.arange(77)[None]
    path.unlink()
    if suffix == "bin":
        torch.save(state, path.with_name("pytorch_model.bin"))
    else:
        save_file(state, path)

    assert torch.equal(ours(folder, some_ids()), expected)


def test_a_token_does_not_depend_on_later_ones(folder: Path) -> None:
    changed = some_ids()
    changed[:, 40:] = 7

    before, after = ours(folder, some_ids()), ours(folder, changed)

    assert torch.allclose(before[:, :40], after[:, :40], atol=1e-5)
    assert not torch.allclose(before[:, 40:], after[:, 40:], atol=1e-2)


def test_fresh_weights_are_spread_as_clips(folder: Path) -> None:
    theirs = CLIPTextModel.from_pretrained(folder / "text_encoder").config
    theirs.hidden_size, theirs.intermediate_size = 256, 1024
    torch.manual_seed(0)
    expected = CLIPTextModel(theirs).state_dict()

    found = TextEncoder(TextEncoderConfig.from_json(theirs.to_dict())).state_dict()

    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert float(found[name].std()) == pytest.approx(float(tensor.std()), rel=0.03)
