"""A Dockerfile, read: stages and their instructions. Of its syntax it knows what ours use."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Instruction:
    """One of them, its lines joined."""

    word: str
    """Such as RUN."""
    text: str
    """What follows the word."""

    @property
    def options(self) -> Mapping[str, str]:
        """What stands before the rest as --name=value."""
        words = self.text.split()
        return dict(word[2:].split("=", 1) for word in words if word.startswith("--"))

    @property
    def words(self) -> Sequence[str]:
        """The rest: of the exec form its list, else what a shell would make of it."""
        rest = re.sub(r"^(--\S+\s+)+", "", self.text)
        if rest.startswith("["):
            listed: list[str] = json.loads(rest)
            return listed
        return shlex.split(rest)


@dataclass(frozen=True, slots=True)
class Stage:
    """From one FROM to the next."""

    base: str
    """As it is written: another stage, or an image."""
    name: str
    instructions: Sequence[Instruction]

    def all_of(self, word: str) -> Sequence[Instruction]:
        """Return its instructions of one kind, in order."""
        return [one for one in self.instructions if one.word == word]

    def environment(self) -> Mapping[str, str]:
        """Return what its ENV lines set."""
        return dict(pair.split("=", 1) for one in self.all_of("ENV") for pair in one.words)

    def arguments(self) -> Mapping[str, str]:
        """Return what its ARG lines are unless somebody gives them."""
        return dict(one.text.partition("=")[::2] for one in self.all_of("ARG"))


def read_dockerfile(path: Path) -> Mapping[str, Stage]:
    """Return its stages by name, in order."""
    stages: dict[str, Stage] = {}
    instructions: list[Instruction] = []
    for one in _instructions(path.read_text("utf-8")):
        if one.word == "FROM":
            base, _, name = one.text.partition(" AS ")
            instructions = []
            stages[name] = Stage(base, name, instructions)
        else:
            instructions.append(one)
    return stages


def chain(stages: Mapping[str, Stage], name: str) -> Sequence[Stage]:
    """Return a stage and those that it is based on, the first one first."""
    stage = stages[name]
    below = chain(stages, stage.base) if stage.base in stages else []
    return [*below, stage]


def _instructions(text: str) -> Iterator[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield Instruction(word, rest.strip())
