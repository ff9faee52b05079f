"""docker-compose.yml, read as a client of an engine would with an empty environment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = REPOSITORY / "infra/docker/Dockerfile"
PUBLISHED = REPOSITORY / "infra/docker/published.yml"
COMPOSE = REPOSITORY / "docker-compose.yml"

Document = Mapping[str, Any]


def read_compose(path: Path = COMPOSE) -> Document:
    """Return a file's document, with the defaults of its variables."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", path.read_text("utf-8"))
    document: Document = yaml.safe_load(text)
    return document


def services(path: Path = COMPOSE) -> Mapping[str, Document]:
    """Return its services by name."""
    found: Mapping[str, Document] = read_compose(path)["services"]
    return found


def command_of(name: str, replaced: Mapping[str, str]) -> Sequence[str]:
    """Return what a service runs, its words with texts in them replaced."""
    words: list[str] = list(services()[name]["command"])
    for old, new in replaced.items():
        words = [word.replace(old, new) for word in words]
    return words


def environment_of(name: str) -> Mapping[str, str]:
    """Return the variables that a service is given, but those of whoever starts it."""
    variables: Mapping[str, object] = services()[name].get("environment", {})
    return {key: str(value) for key, value in variables.items() if value is not None}
