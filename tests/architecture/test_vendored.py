"""What the dashboard took from npm is what npm has, and all of it."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
RECIPE = REPOSITORY / "infra/vendor"
VENDORED = REPOSITORY / "producer/dashboard/static/vendor"


def dependencies() -> dict[str, str]:
    versions: dict[str, str] = json.loads((RECIPE / "package.json").read_text())["dependencies"]
    return versions


def test_every_file_is_as_it_was_taken() -> None:
    lines = (RECIPE / "SHA256SUMS").read_text().splitlines()
    taken = {name: digest for digest, name in (line.split() for line in lines)}

    assert {
        path.name: sha256(path.read_bytes()).hexdigest() for path in VENDORED.iterdir()
    } == taken


def test_versions_are_exact_and_those_that_are_locked() -> None:
    lines = (VENDORED / "VERSIONS").read_text().splitlines()
    packages = json.loads((RECIPE / "package-lock.json").read_text())["packages"]
    locked = {
        name.removeprefix("node_modules/"): package["version"]
        for name, package in packages.items()
        if name
    }

    assert dict(line.split() for line in lines) == dependencies() == locked


def test_every_package_has_its_licence_beside_it() -> None:
    licences = {path.name for path in VENDORED.glob("*.LICENSE.txt")}

    assert licences == {f"{name}.LICENSE.txt" for name in dependencies()}


def test_the_lock_names_no_registry() -> None:
    assert "http" not in (RECIPE / "package-lock.json").read_text()
