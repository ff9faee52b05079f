"""Published folders load by name, strictly, and whatever is wrong with one is told by name."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from shared.errors import ConfigurationError
from shared.models.catalog import load_card
from support.families import FAMILIES, Family, write_family
from support.tiny_model import write_json
from worker.models.networks import Networks, load_networks, make_networks

STEM = "diffusion_pytorch_model"
FIRST_RESNET = "down_blocks.0.modules_list.0.conv1.weight"
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

State = dict[str, Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_family("decidiffusion-1.0", tmp_path / "model")


def load(folder: Path) -> Networks:
    return load_networks(load_card(str(folder)))


def outputs(networks: Networks) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    with torch.inference_mode():
        text = networks.text_encoder(torch.arange(77)[None])
        predicted = networks.denoiser(latents, torch.tensor([500]), text)
        return [text, predicted, networks.decoder(latents)]


def complaint(folder: Path) -> str:
    with pytest.raises(ConfigurationError) as error:
        load(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def change_weights(path: Path, change: Callable[[State], object]) -> None:
    state = load_file(path)
    change(state)
    save_file(state, path)


def change_config(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads(path.read_text("utf-8"))
    change(config.get("configurations", config))
    write_json(path, config)


@pytest.mark.parametrize("family", FAMILIES)
def test_safetensors_and_pytorch_files_load_to_the_same_outputs(
    family: Family, tmp_path: Path
) -> None:
    tensors = outputs(load(write_family(family, tmp_path / "new")))
    old = outputs(load(write_family(family, tmp_path / "old", as_bin=True)))
    for ours, theirs in zip(tensors, old, strict=True):
        assert torch.equal(ours, theirs)


def test_the_unet_beside_the_flexible_one_is_never_touched(folder: Path) -> None:
    before = outputs(load(folder))
    (folder / "unet" / "config.json").write_text("not JSON", "utf-8")
    (folder / "unet" / f"{STEM}.safetensors").write_bytes(b"no weights")
    for ours, theirs in zip(outputs(load(folder)), before, strict=True):
        assert torch.equal(ours, theirs)


def test_an_autoencoder_under_the_names_of_2022_loads_to_the_same_decoder(folder: Path) -> None:
    before = outputs(load(folder))[2]

    def rename(state: State) -> None:
        for name in [name for name in state if ".attentions." in name]:
            old = name
            for new_part, old_part in OLD_NAMES.items():
                old = old.replace(f".{new_part}.", f".{old_part}.")
            state[old] = state.pop(name)

    path = folder / "vae" / f"{STEM}.safetensors"
    change_weights(path, rename)
    assert any(".proj_attn." in name for name in load_file(path))
    assert torch.equal(outputs(load(folder))[2], before)


@pytest.mark.parametrize("part", ["flexible_unet", "vae"])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state, name: state.pop(name), "is missing"),
        (lambda state, _: state.update(surprise=torch.zeros(1)), "surprise has no place"),
        (lambda state, name: state.update({name: torch.zeros(1)}), "has shape (1,), not ("),
    ],
    ids=["missing", "extra", "misshapen"],
)
def test_a_wrong_tensor_is_named(
    folder: Path, part: str, change: Callable[[State, str], object], told: str
) -> None:
    path = folder / part / f"{STEM}.safetensors"
    name = FIRST_RESNET if part == "flexible_unet" else "decoder.conv_in.weight"
    change_weights(path, lambda state: change(state, name))
    message = complaint(folder)
    assert message.startswith(f"{path}: the tensor ")
    assert told in message
    assert ("surprise" if "surprise" in told else name) in message


@pytest.mark.parametrize("change", ["missing", "extra", "misshapen"])
def test_a_wrong_tensor_of_the_text_encoder_is_named(folder: Path, change: str) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    name = next(name for name in load_file(path) if name.endswith("0.mlp.fc1.bias"))

    def wrong(state: State) -> None:
        if change == "extra":
            state["surprise"] = torch.zeros(1)
        elif change == "missing":
            state.pop(name)
        else:
            state[name] = torch.zeros(1)

    change_weights(path, wrong)
    message = complaint(folder)
    assert str(folder / "text_encoder") in message
    assert ("surprise" if change == "extra" else "0.mlp.fc1.bias") in message


@pytest.mark.parametrize("as_bin", [False, True], ids=["safetensors", "bin"])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path: Path, kept: float, as_bin: bool) -> None:  # noqa: FBT001
    folder = write_family("decidiffusion-2.0", tmp_path / "model", as_bin=as_bin)
    (path,) = (folder / "flexible_unet").glob(f"{STEM}.*")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    told = "cut short" if as_bin else "Error while deserializing header"
    assert complaint(folder).startswith(f"{path}: {told}")


@pytest.mark.parametrize("part", ["vae", "text_encoder"])
def test_a_truncated_file_of_another_part_is_named(folder: Path, part: str) -> None:
    (path,) = (folder / part).glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1000])
    assert complaint(folder).startswith(str(folder / part))


class Mischief:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("zipped", [True, False], ids=["torch.save", "pickle"])
@pytest.mark.parametrize("part", ["flexible_unet", "text_encoder"])
def test_what_is_no_tensor_is_not_run(folder: Path, part: str, zipped: bool) -> None:  # noqa: FBT001
    (weights,) = (folder / part).glob("*.safetensors")
    weights.unlink()
    path = folder / part / ("pytorch_model.bin" if part == "text_encoder" else f"{STEM}.bin")
    trace = folder / "trace"
    document = {FIRST_RESNET: Mischief(trace)}
    if zipped:
        torch.save(document, path)
    else:
        path.write_bytes(pickle.dumps(document))
    assert complaint(folder).startswith(str(folder / part))
    assert not trace.exists()


def test_a_pytorch_file_of_other_things_than_tensors_is_named(tmp_path: Path) -> None:
    folder = write_family("decidiffusion-1.0", tmp_path / "model", as_bin=True)
    path = folder / "flexible_unet" / f"{STEM}.bin"
    torch.save({"state_dict": torch.load(path, weights_only=True)}, path)
    assert complaint(folder) == f"{path}: not a state dict of tensors"


@pytest.mark.parametrize(
    ("part", "change", "told"),
    [
        ("flexible_unet", lambda c: c.pop("temb_dim"), "temb_dim"),
        ("flexible_unet", lambda c: c.update(surprise=1), "surprise"),
        ("flexible_unet", lambda c: c.update(add_upsample=1), "add_upsample"),
        ("flexible_unet", lambda c: c.update(resnet_act_fn="loud"), "loud"),
        ("flexible_unet", lambda c: c.update(prev_output_channels=[96, 96, 96]), "up block 2"),
        ("vae", lambda c: c.pop("latent_channels"), "latent_channels"),
        ("vae", lambda c: c.update(layers_per_block="two"), "layers_per_block"),
        (
            "text_encoder",
            lambda c: c.update(num_attention_heads=5),
            "num_attention_heads (5)",
        ),
        ("text_encoder", lambda c: c.update(hidden_act="loud"), "loud"),
        ("text_encoder", lambda c: c.update(hidden_size="wide"), "hidden_size"),
    ],
)
def test_a_wrong_configuration_is_told_by_file_and_field(
    folder: Path, part: str, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    change_config(folder / part / "config.json", change)
    message = complaint(folder)
    assert message.startswith(str(folder / part))
    assert told in message
    with pytest.raises(ConfigurationError, match=re.escape(told)), torch.device("meta"):
        make_networks(load_card(str(folder)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"down_block_types": ["NoBlock"] * 4}, "NoBlock"),
        ({"block_out_channels": [33, 64, 64, 64]}, "num_channels"),
        ({"layers_per_block": "two"}, "layers_per_block"),
    ],
)
def test_a_wrong_configuration_of_a_plain_unet_is_told(
    change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    folder = write_family("sd-1.5", tmp_path / "model")
    change_config(folder / "unet" / "config.json", lambda config: config.update(change))
    message = complaint(folder)
    assert message.startswith(str(folder / "unet" / "config.json"))
    assert told in message


@pytest.mark.parametrize("part", ["flexible_unet", "vae", "text_encoder"])
def test_a_missing_configuration_is_named(folder: Path, part: str) -> None:
    (folder / part / "config.json").unlink()
    with pytest.raises(ConfigurationError, match=f"{part}/config.json: No such file"):
        load(folder)
