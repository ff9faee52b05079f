"""``tenstep model``, as a person types it: what is printed, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from shared.models.card import read_card
from support.families import rewrite_json, write_family
from support.shell import Shell
from worker.models.weights import WEIGHTS, hash_weights


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_family("decidiffusion-2.0", tmp_path / "deci")


def test_the_list_has_what_ships_with_licence_and_notes(shell: Shell) -> None:
    models = {model["name"]: model for model in shell.json("model", "list")["models"]}

    assert models["emoji-64"]["weights"] == "stored"
    assert models["emoji-64"]["licence"] == "Apache-2.0"
    for name in ("sd-1.5", "sd-2.1", "decidiffusion-1.0", "decidiffusion-2.0"):
        assert models[name]["weights"] == "random"
        assert "Random weights" in models[name]["note"]
    for name in ("decidiffusion-1.0", "decidiffusion-2.0"):
        assert "reconstruction" in models[name]["note"]


def test_the_list_fits_a_terminal_and_says_what_is_reconstructed(shell: Shell) -> None:
    assert shell("model", "list") == 0
    assert "reconstruction" in shell.out
    assert max(map(len, shell.out.splitlines())) <= 80


def test_show_gives_parameters_and_gmacs_of_each_component(shell: Shell) -> None:
    shown = shell.json("model", "show", "sd-1.5")

    parts = {part["component"]: part for part in shown["components"]}
    assert parts["denoiser"]["parameters"] == 859_520_964
    assert parts["denoiser"]["gmacs"] == pytest.approx(338.6, abs=0.05)
    assert parts["text_encoder"]["parameters"] == 123_060_480
    assert shown["parameters"] == sum(part["parameters"] for part in shown["components"])
    assert shown["memory_bytes"]["float32"] == 4 * shown["parameters"]


def test_show_tells_a_person_what_is_reconstructed(shell: Shell) -> None:
    assert shell("model", "show", "decidiffusion-1.0") == 0
    assert "814,746,884" in shell.out
    assert "reconstruction" in shell.out


def test_show_of_a_folder_has_precision_disk_and_hash(shell: Shell, model: Path) -> None:
    shown = shell.json("model", "show", str(model))

    assert {part["precision"] for part in shown["components"]} == {"float32"}
    assert all(part["disk_bytes"] > 0 for part in shown["components"])
    assert shown["weights_sha256"] == hash_weights(model)
    assert shown["licence"] == "unknown"


def test_the_model_that_ships_is_whole(shell: Shell) -> None:
    verified = shell.json("model", "verify", "emoji-64")
    assert verified["weights_sha256"] == shell.json("model", "show", "emoji-64")["weights_sha256"]


def test_an_exported_model_serves_the_same_queue_and_verifies(shell: Shell, model: Path) -> None:
    shell.json("model", "export", str(model), "--to", "onnx")

    assert read_card(Path("onnx")).name == read_card(model).name
    assert shell.json("model", "show", "onnx")["backend"] == "onnxruntime"
    assert shell("model", "verify", "onnx") == 0
    graph = Path("onnx/denoiser/model.onnx")
    graph.write_bytes(graph.read_bytes() + b"\0")
    assert shell("model", "verify", "onnx") == 2
    assert "have changed" in shell.err


def test_an_export_over_something_is_refused(shell: Shell, model: Path) -> None:
    Path("there").mkdir()
    Path("there/a file").write_text("mine", "utf-8")

    assert shell("model", "export", str(model), "--to", "there") == 2
    assert [path.name for path in Path("there").iterdir()] == ["a file"]


def test_a_truncated_file_of_weights_is_named(shell: Shell, model: Path) -> None:
    weights = model / "flexible_unet" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1_000])

    for command in (("verify", str(model)), ("export", str(model), "--to", "onnx")):
        assert shell("model", *command) == 2
        *_, complaint = shell.err.splitlines()
        assert complaint.startswith("error: ")
        assert WEIGHTS in complaint
    assert not Path("onnx").exists()


def test_weights_that_changed_since_the_card_was_written_are_refused(
    shell: Shell, model: Path
) -> None:
    card = read_card(model)
    document = card.model_dump(mode="json", exclude={"folder"}) | {"weights_sha256": "0" * 64}
    (model / "tenstep.json").write_text(json.dumps(document), "utf-8")

    assert shell("model", "verify", str(model)) == 2
    assert "have changed" in shell.err


def test_a_wrong_configuration_is_named_with_its_field(shell: Shell, model: Path) -> None:
    path = model / "flexible_unet" / "config.json"
    configurations = json.loads(path.read_text("utf-8"))["configurations"]
    rewrite_json(path, configurations=configurations | {"temb_dim": "wide"})

    for command in (("show", str(model)), ("verify", str(model))):
        assert shell("model", *command) == 2
        assert "flexible_unet/config.json" in shell.err
        assert "temb_dim" in shell.err


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_model_that_does_not_exist_is_told_what_does(shell: Shell, command: str) -> None:
    assert shell("model", command, "nobody/nothing") == 2
    assert "emoji-64" in shell.err
    assert "tenstep model pull nobody/nothing" in shell.err


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--width", "100", "multiple of 8"),
        ("--seed", "4294967296", "--seed"),
        ("--scheduler", "heun", "--scheduler"),
        ("--model", "nobody/nothing", "no model"),
    ],
)
def test_bad_settings_of_a_batch_change_nothing(
    shell: Shell, option: str, value: str, complaint: str
) -> None:
    Path("p.txt").write_text("a dog\n", "utf-8")
    assert shell("submit", "p.txt", option, value) == 2
    assert complaint in shell.err
    assert shell.json("status", "--all") == {"batches": []}


def test_a_partly_copied_model_is_no_model(shell: Shell, model: Path) -> None:
    shutil.rmtree(model / "vae")
    assert shell("model", "show", str(model)) == 2
    assert "vae" in shell.err
