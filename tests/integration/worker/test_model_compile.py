"""``tenstep model compile``: the commands, the store, and what comes of an interruption."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shared.models.card import ModelCard
from support.commands import TENSTEP, wait_until
from support.qaic import compiled, exported_tiny
from support.shell import Shell
from worker.qaic.compile import CompileReport
from worker.qaic.store import QpcStore

TARGET = ("--target", "qaic")
MODELS_DIR = "TENSTEP_MODELS_DIR"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compile")


@pytest.fixture(scope="module")
def card(folder: Path) -> ModelCard:
    return exported_tiny(folder)


@pytest.fixture(scope="module")
def first(card: ModelCard, folder: Path) -> CompileReport:
    """What the model was compiled to at 64x64, once."""
    return compiled(card, folder / "models", sizes=[(64, 64)])


@pytest.fixture
def model(card: ModelCard) -> str:
    return str(card.folder)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> QpcStore:
    monkeypatch.setenv(MODELS_DIR, str(tmp_path / "models"))
    return QpcStore(tmp_path / "models")


@pytest.fixture
def filled(store: QpcStore, first: CompileReport, folder: Path) -> QpcStore:
    """A store that has what was compiled first."""
    shutil.copytree(QpcStore(folder / "models").folder, store.folder)
    return store


def was_there(report: Any) -> dict[str, bool]:
    return {
        f"{part['component']} {part['width']}x{part['height']}": part["was_there"]
        for part in report["programs"]
    }


def leftovers(store: QpcStore) -> list[str]:
    known = {qpc.folder.name for qpc in store.all()}
    return [path.name for path in store.folder.iterdir() if path.name not in known]


def test_a_dry_run_prints_the_commands_and_does_nothing(
    shell: Shell, model: str, store: QpcStore
) -> None:
    assert shell("model", "compile", model, *TARGET, "--dry-run", "--images", "2") == 0

    text, denoiser, decoder = shell.out.splitlines()
    assert text.split()[0].endswith("qaic-exec")
    assert "-onnx-define-symbol=batch,1 -stats-batchsize=1 -aic-num-cores=1 " in text
    assert "-onnx-define-symbol=batch,4 -onnx-define-symbol=height,8 " in denoiser
    assert "-aic-num-cores=12 -aic-num-of-instances=1 -mos=2 -ols=1" in denoiser
    assert decoder.endswith("-aic-depth-first-mem=18 -aic-binary-dir=qpc/vae_decoder-64x64-1")
    assert not store.folder.exists()


def test_the_commands_that_are_run_are_those_of_the_dry_run(
    shell: Shell, model: str, store: QpcStore, first: CompileReport
) -> None:
    commands = shell.json("model", "compile", model, *TARGET, "--dry-run")["commands"]

    assert [part.command for part in first.programs] == commands
    assert "emulator" in first.sdk_version


def test_cores_follow_the_cards(
    shell: Shell, model: str, store: QpcStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QAIC_EMULATOR_SKU", "ultra")
    (_, of_host, _) = shell.json("model", "compile", model, *TARGET, "--dry-run")["commands"]
    (_, asked, _) = shell.json("model", "compile", model, *TARGET, "--dry-run", "--sku", "std")[
        "commands"
    ]

    assert "-aic-num-cores=14 " in of_host
    assert "-aic-num-cores=12 " in asked


def test_what_was_compiled_before_is_not_compiled_again(
    shell: Shell, model: str, filled: QpcStore
) -> None:
    again = shell.json("model", "compile", model, *TARGET, "--size", "64x64", "--size", "72x64")

    assert was_there(again) == {
        "text_encoder 0x0": True,
        "denoiser 64x64": True,
        "vae_decoder 64x64": True,
        "denoiser 72x64": False,
        "vae_decoder 72x64": False,
    }
    assert len(filled.all()) == 5
    assert leftovers(filled) == []


def test_what_is_forced_is_compiled_again_and_a_person_sees_it(
    shell: Shell, model: str, filled: QpcStore
) -> None:
    before = {qpc.folder.name: qpc.record.compiled_at for qpc in filled.all()}

    assert shell("model", "compile", model, *TARGET, "--force") == 0

    after = {qpc.folder.name: qpc.record.compiled_at for qpc in filled.all()}
    assert before.keys() == after.keys()
    assert all(after[name] > before[name] for name in before)
    assert leftovers(filled) == []
    assert "denoiser-64x64-1: compiling, 2 of 3" in shell.err
    assert "text_encoder: constants clipped to the range of float16: 1" in shell.err
    assert "for ai100-std, by SDK 1.20.2-emulator" in shell.out


def test_other_weights_are_other_programs(
    shell: Shell, model: str, filled: QpcStore, first: CompileReport
) -> None:
    path = Path(model) / "tenstep.json"
    written = path.read_text("utf-8")
    path.write_text(json.dumps(json.loads(written) | {"weights_sha256": "f" * 64}), "utf-8")
    try:
        after = shell.json("model", "compile", model, *TARGET)
    finally:
        path.write_text(written, "utf-8")

    assert set(was_there(after).values()) == {False}
    assert not {part["identity"] for part in after["programs"]} & identities(first)
    assert len(filled.all()) == 6


def identities(report: CompileReport) -> set[str]:
    return {part.identity for part in report.programs}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--size", "64"), "no such size: '64'"),
        (("--size", "64x60"), "size 64x60: sides must be multiples of 8"),
        (("--sku", "h100"), "no such SKU: 'h100'"),
        (("--images", "0"), "0 images at once"),
    ],
)
def test_bad_input_is_refused(
    shell: Shell, model: str, store: QpcStore, options: tuple[str, ...], said: str
) -> None:
    assert shell("model", "compile", model, *TARGET, *options) == 2
    assert said in shell.err
    assert not store.folder.exists()


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(
    shell: Shell, model: str, store: QpcStore
) -> None:
    graph = Path(model) / "vae_decoder" / "model.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole.replace(b"height", b"hEIGHT"))
    try:
        assert shell("model", "compile", model, *TARGET) == 1
    finally:
        graph.write_bytes(whole)

    assert "vae_decoder-64x64-1: qaic-exec ended with 1" in shell.err
    assert "symbol 'hEIGHT' is not defined" in shell.err
    assert leftovers(store) == []
    assert {qpc.record.component for qpc in store.all()} == {"text_encoder", "denoiser"}


def test_an_interruption_leaves_what_is_whole_and_nothing_else(
    model: str, filled: QpcStore
) -> None:
    process = subprocess.Popen(
        [TENSTEP, "model", "compile", model, *TARGET, "--size", "72x64"],
        env=os.environ | {"QAIC_EMULATOR_COMPILE_SECONDS": "50"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: any(filled.folder.glob(".partial-*/compiler.log")), seconds=40)

    # As a terminal does it: to the compiler, too.
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)

    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert leftovers(filled) == []
    assert len(filled.all()) == 3
    for qpc in filled.all():
        qpc.verify()


def test_a_broken_record_is_named(
    shell: Shell, model: str, filled: QpcStore, first: CompileReport
) -> None:
    record = filled.folder / first.programs[0].identity / "qpc.json"
    record.write_text("{}", "utf-8")

    assert shell("model", "compile", model, *TARGET) == 2
    assert str(record) in shell.err
