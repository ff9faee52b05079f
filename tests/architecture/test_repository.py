"""The repository as a whole."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ["producer", "worker", "shared", "training"]
LIGHT = ["shared.settings", "shared.db.migrate", "shared.messaging.broker", "producer.cli.main"]
TOO_HEAVY = {"torch", "diffusers", "transformers", "onnxruntime", "fastapi"}
SOMEBODYS_FOLDER = re.compile(
    rb"(?<![\w.:/<$-])/(?:home|Users|root|work|workspace|mnt|scratch)/[\w.-]+"
)


def files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    names = listed.stdout.decode().split("\0")
    return [path for name in names if name and (path := REPOSITORY / name).is_file()]


def is_text(data: bytes) -> bool:
    return b"\0" not in data


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    named = {
        f"{path.relative_to(REPOSITORY)}: {found.decode()}"
        for path in files()
        if is_text(data := path.read_bytes())
        for found in SOMEBODYS_FOLDER.findall(data)
    }

    assert named == set()


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ("open('" + "/home" + "/ada/file')", True),
        ("--cache=" + "/root" + "/.cache", True),
        ("https://example.org/home/ada", False),
        ("./work/item", False),
        ("tests/root/file", False),
        ("/var/lib/tenstep", False),
    ],
)
def test_a_folder_of_somebodys_machine_is_recognised(text: str, *, is_named: bool) -> None:
    assert bool(SOMEBODYS_FOLDER.search(text.encode())) == is_named


@pytest.mark.parametrize("module", LIGHT)
def test_what_is_imported_first_brings_in_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )

    assert not TOO_HEAVY & set(done.stdout.split())


def test_test_folders_are_no_packages() -> None:
    assert not list((REPOSITORY / "tests").rglob("__init__.py"))


def test_the_wheel_holds_the_four_packages_and_every_folder_of_them_is_one() -> None:
    document = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    assert sorted(document["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == sorted(
        PACKAGES
    )
    for package in PACKAGES:
        for module in (REPOSITORY / package).rglob("*.py"):
            if "migrations" not in module.parts:
                assert (module.parent / "__init__.py").is_file(), module
