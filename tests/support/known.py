"""What this version knows: commands, and settings. Containers must not ask for others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from producer.cli.main import app
from shared.settings import Settings


def settings_names() -> set[str]:
    """Return the variables that are settings."""
    return {f"TENSTEP_{name.upper()}" for name in Settings.model_fields}


def parse(words: Sequence[str]) -> None:
    """Parse a command line as tenstep does; Typer raises what it does not know."""
    assert words[0] == "tenstep"
    command: Any = typer.main.get_command(app)
    while words[1:] and hasattr(command, "commands"):
        command, words = command.commands[words[1]], words[1:]
    command.make_context(words[0], list(words[1:]))
