"""``tenstep``, run in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from producer.cli.main import run


@dataclass
class Shell:
    """Runs commands and keeps what they wrote."""

    captured: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def __call__(self, *arguments: str) -> int:
        self.captured.readouterr()
        code = run(arguments)
        self.out, self.err = self.captured.readouterr()
        return code

    def json(self, *arguments: str) -> Any:
        assert self(*arguments, "--json") == 0, self.err
        return json.loads(self.out)


def write(name: str, *lines: str) -> str:
    """Write a text file into the working folder; returns its name."""
    Path(name).write_text("\n".join(lines), "utf-8")
    return name
