"""What a host tells of its Cloud AI 100 cards and its SDK, and constants for float16."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from shared.errors import ConfigurationError, InputError
from worker.qaic import cards
from worker.qaic.cards import find_cards, parse_cards
from worker.qaic.clip import write_clipped
from worker.qaic.recipe import find_sku, programs_of
from worker.qaic.tools import find_sdk, find_tool

ULTRA = {
    "Status": "Ready",
    "SKU Type": "Ultra",
    "Product name": "Cloud AI 100",
    "Dram Total": "32692 MB",
    "Nsp Total": 16,
}


@pytest.mark.parametrize(
    "document",
    [
        {"Number of devices": 1, "Devices": [{"QID": 3, **ULTRA}]},
        [{"qid": "3", **ULTRA}],
        {"QID 3": ULTRA},
        {"devices": {"3": ULTRA}},
        {"devices": [{"device_id": 3, "board": {**ULTRA, "Status": None}, "status": "Ready"}]},
        {"d": [{"QID": "QID 3", **{key.upper().replace(" ", "_"): ULTRA[key] for key in ULTRA}}]},
    ],
)
def test_a_card_is_read_however_its_fields_are_spelt(document: Any) -> None:
    (card,) = parse_cards(json.dumps(document))

    assert (card.qid, card.status, card.is_ready) == (3, "Ready", True)
    assert (card.sku, card.cores, card.memory_bytes) == ("ai100-ultra", 16, 32_692_000_000)
    assert card.name == "Cloud AI 100"
    assert not card.is_emulated


def test_cards_come_by_qid_and_fields_may_be_missing() -> None:
    listed = [{"QID": 7, "Status": "Error"}, {"QID": 0, "Status": "Ready", "Nsp Total": 14}]

    first, second = parse_cards(json.dumps(listed))

    assert (first.qid, first.sku) == (0, "ai100-std")
    assert (second.qid, second.is_ready, second.sku, second.cores) == (7, False, "", 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not JSON", "is not JSON"),
        ("3", "neither an object nor a list"),
        ('[{"QID": 0}]', "without a QID or a status"),
        ('[{"QID": "none", "Status": "Ready"}]', "without a QID or a status"),
    ],
)
def test_nonsense_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        parse_cards(text)


def test_a_host_without_cards_has_none() -> None:
    assert parse_cards('{"Number of devices": 0, "Devices": []}') == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'no driver' >&2; exit 3", "no driver"),
        ("exit 0", "left no list of cards"),
        ('echo nonsense > "$2"', "is not JSON"),
        ("sleep 60", "no answer in"),
    ],
)
def test_a_tool_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    tool = tmp_path / "qaic-util"
    tool.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    tool.chmod(0o755)
    monkeypatch.setattr(cards, "find_tool", lambda _: tool)
    monkeypatch.setattr(cards, "ANSWER_SECONDS", 0.5 if script.startswith("sleep") else 30)

    with pytest.raises(ConfigurationError, match=said) as refused:
        find_cards()

    assert str(tool) in refused.value.message


def test_the_sdk_goes_before_what_lies_beside_python(tmp_path: Path) -> None:
    (tmp_path / "exec").mkdir()
    (tmp_path / "exec" / "qaic-exec").touch()
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "apps.xml").write_text(
        '<?xml version="1.0"?>\n<versions><ci_build>AIC.1.20.2.0</ci_build></versions>', "utf-8"
    )

    sdk = find_sdk(tmp_path)

    assert find_tool("qaic-exec", tmp_path) == tmp_path / "exec" / "qaic-exec"
    assert sdk.version == "AIC.1.20.2.0"
    assert sdk.read_from == str(tmp_path / "versions" / "apps.xml")


def test_without_files_of_versions_the_module_tells(tmp_path: Path) -> None:
    sdk = find_sdk(tmp_path)

    assert "emulator" in sdk.version
    assert sdk.read_from == "qaic.__version__"


@pytest.mark.parametrize("is_apart", [True, False])
def test_constants_are_clipped_and_nothing_else_changes(tmp_path: Path, *, is_apart: bool) -> None:
    values = np.array([-3.4e38, -1.0, 65504.0, 1e6, np.inf], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(values)),
            helper.make_node("Add", ["c", "w"], ["y"]),
        ],
        "constants",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [5])],
        [numpy_helper.from_array(values, "w"), numpy_helper.from_array(np.array([10**9]), "n")],
    )
    onnx.save_model(
        helper.make_model(graph),
        tmp_path / "model.onnx",
        save_as_external_data=is_apart,
        location="model.onnx.data",
        size_threshold=0,
    )

    moved = write_clipped(tmp_path / "model.onnx", tmp_path / "clipped")

    clipped = onnx.load(tmp_path / "clipped" / "model.onnx").graph
    expected = [-65504.0, -1.0, 65504.0, 65504.0, 65504.0]
    assert moved == 6
    assert numpy_helper.to_array(clipped.initializer[0]).tolist() == expected
    assert numpy_helper.to_array(clipped.node[0].attribute[0].t).tolist() == expected
    assert numpy_helper.to_array(clipped.initializer[1]).tolist() == [10**9]


def test_the_recipe_is_the_published_one() -> None:
    text, denoiser, decoder = programs_of(find_sku("std"), [(512, 512)], 1, 8)

    always = "-aic-hw -aic-hw-version=2.0 -convert-to-fp16 -compile-only"
    size = "-onnx-define-symbol=height,64 -onnx-define-symbol=width,64"
    assert " ".join(text.arguments()) == (
        f"-m=text_encoder/model.onnx {always} -onnx-define-symbol=batch,1 -stats-batchsize=1 "
        "-aic-num-cores=1 -aic-num-of-instances=1 -aic-binary-dir=qpc/text_encoder"
    )
    assert " ".join(denoiser.arguments()) == (
        f"-m=denoiser/model.onnx {always} -onnx-define-symbol=batch,2 {size} -stats-batchsize=2 "
        "-aic-num-cores=12 -aic-num-of-instances=1 -mos=2 -ols=1 "
        "-aic-binary-dir=qpc/denoiser-512x512-1"
    )
    assert " ".join(decoder.arguments()) == (
        f"-m=vae_decoder/model.onnx {always} -onnx-define-symbol=batch,1 {size} -stats-batchsize=1 "
        "-aic-num-cores=12 -aic-num-of-instances=1 -multicast-weights -aic-enable-depth-first "
        "-aic-depth-first-mem=18 -aic-binary-dir=qpc/vae_decoder-512x512-1"
    )


@pytest.mark.parametrize(("sku", "cores"), [("std", 12), ("ai100-pro", 14), ("Ultra", 14)])
def test_cores_are_those_of_what_was_bought(sku: str, cores: int) -> None:
    _, denoiser, _ = programs_of(find_sku(sku), [(512, 512)], 4, 8)

    assert (denoiser.cores, denoiser.batch) == (cores, 8)


def test_what_cannot_be_compiled_is_refused() -> None:
    with pytest.raises(InputError, match="no such SKU: 'h100'"):
        find_sku("h100")
    with pytest.raises(InputError, match="65 images at once"):
        programs_of(find_sku("std"), [(512, 512)], 65, 8)
    with pytest.raises(InputError, match="size 512x500: sides must be multiples of 8"):
        programs_of(find_sku("std"), [(512, 500)], 1, 8)
