"""Devices, programs and sizes that do not fit: said in a line, with what to do about it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from sqlalchemy import select

from shared.db.tables import Batch, Worker
from shared.models.card import ModelCard
from support.books import opened_books
from support.commands import processes_of, running, tenstep, tenstep_json, wait_until
from support.qaic import compiled, exported_tiny
from worker.models.weights import WEIGHTS

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.parametrize("stack_env", ["local"], indirect=True),
]

CARD = "qaic:60"
"""Of this module alone: a card has one worker at a time, whichever test it is of."""
COMPILE = "tenstep model compile tiny --target qaic"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    """The tiny model, compiled for one size; its programs are in a folder beside it."""
    folder = tmp_path_factory.mktemp("compiled")
    card = exported_tiny(folder)
    compiled(card, folder / "models", sizes=[(card.width, card.height)])
    return card


@pytest.fixture
def environment(stack_env: dict[str, str], model: ModelCard) -> dict[str, str]:
    assert model.folder is not None
    return {
        **stack_env,
        "TENSTEP_MODEL": str(model.folder),
        "TENSTEP_MODELS_DIR": str(model.folder.parent / "models"),
        "QAIC_EMULATOR_CARDS": "64",
    }


def refused(environment: dict[str, str], cwd: Path, *command: str) -> list[str]:
    """Run a command that changes nothing; returns the error and the hint."""
    done = tenstep(environment, *command, cwd=cwd)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    [begin] = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    return lines[begin:]


def test_a_device_that_is_none_is_told_with_those_that_there_may_be(
    environment: dict[str, str], tmp_path: Path
) -> None:
    tenstep_json(environment, "migrate", cwd=tmp_path)

    error, hint = refused(environment, tmp_path, "worker", "--device", "tpu:0")

    assert error == "error: no such device: 'tpu:0'"
    assert "cuda:0, cuda:1, …; qaic:0, qaic:1, …; simulated:0" in hint
    assert_nothing_is_left(environment)


def assert_nothing_is_left(environment: dict[str, str]) -> None:
    with opened_books(environment) as database, database.read() as session:
        assert not session.scalars(select(Worker)).all()
    assert not processes_of(Path(environment["TENSTEP_DATA_DIR"]))


def test_programs_of_another_sdk_are_refused_with_the_command_that_makes_them(
    environment: dict[str, str], tmp_path: Path
) -> None:
    changed = {**environment, "QAIC_EMULATOR_SDK": "1.99-emulator"}

    error, hint = refused(changed, tmp_path, "worker", "--device", CARD)

    assert error == (
        "error: the worker does not start: tiny was compiled by SDK 1.20.2-emulator, and this "
        "host has SDK 1.99-emulator (says qaic.__version__)"
    )
    assert hint.strip() == COMPILE
    assert_nothing_is_left(environment)


def test_programs_of_other_weights_are_refused_with_the_command_that_makes_them(
    environment: dict[str, str], model: ModelCard, tmp_path: Path
) -> None:
    assert model.folder is not None
    other = tmp_path / "other"
    shutil.copytree(model.folder.parent / "tiny", other)
    weights = other / "flexible_unet" / WEIGHTS
    save_file({name: 2 * tensor for name, tensor in load_file(weights).items()}, weights)

    options = ("--device", CARD, "--model", str(other))
    error, hint = refused(environment, tmp_path, "worker", *options)

    begin = "error: the worker does not start: tiny was compiled for other weights: for sha256 "
    assert error.startswith(f"{begin}{model.weights_sha256}, and it has ")
    assert hint.strip() == COMPILE
    assert_nothing_is_left(environment)


def test_a_size_that_was_not_compiled_is_refused_while_the_card_is_there(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("a red apple\n", "utf-8")
    size = ("--width", "128", "--height", "128")

    tenstep_json(environment, "migrate", cwd=tmp_path)

    def is_ready() -> bool:
        with opened_books(environment) as database, database.read() as session:
            return session.scalar(select(Worker.id)) is not None

    with running(environment, "up", "--no-serve", "--device", CARD, cwd=tmp_path):
        wait_until(is_ready)
        error, hint = refused(environment, tmp_path, "submit", "prompts.txt", *size)
        with opened_books(environment) as database, database.read() as session:
            assert not session.scalars(select(Batch)).all()

    assert error == (
        "error: no worker that is alive can draw images of 128 x 128: they draw 64 x 64"
    )
    assert hint.strip() == f"{COMPILE} --size 128x128 makes it one that they can."
