"""What the Dockerfile does for a target, without a container: ``python replay.py tenstep``.

The lines RUN, COPY, ENV, HEALTHCHECK and CMD are read from the Dockerfile and followed in a folder
of their own, whose root stands for the container's: its wheel is built, a virtual environment is
made and filled, the command is started in an empty folder, is found healthy by the health check,
and ends by SIGTERM. A worker draws an image before that. Lines that need root (apt-get, useradd)
are told and left out, and so is what only a container has: users, read-only files, tini.

    PYTHONPATH=tests python infra/docker/replay.py tenstep
    PYTHONPATH=tests python infra/docker/replay.py tenstep-worker --arg TORCH_INDEX=

Without TORCH_INDEX torch is had from where pip has it from; it needs PyPI or a mirror of it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.dockerfile import Instruction, Stage, chain, read_dockerfile
from support.servers import free_port

REPOSITORY = Path(__file__).parents[2]
STAGES = read_dockerfile(Path(__file__).with_name("Dockerfile"))
NEEDS_ROOT = re.compile(r"\b(apt-get|useradd)\b")
PORT = "8080"
FOLDERS = re.compile(
    r"(?<![\w./])/(src|wheels|opt/tenstep|constraints\.txt|var/lib/tenstep|tmp|usr/local/lib/tenstep)"
    r"(?![\w.-])"
)
"""Paths of the container that are looked for in commands and settings."""
HEALTHY_SECONDS = 180.0
DRAWN_SECONDS = 300.0
STOP_SECONDS = 60.0


class Replay:
    """One target in a folder."""

    def __init__(self, root: Path, arguments: Mapping[str, str]) -> None:
        """Make the Python that the base image has.

        Args:
            root: an empty folder, the container's root.
            arguments: build arguments that are given.
        """
        self._root = root
        self._arguments = arguments
        self._built: set[str] = set()
        self._base = root / "usr/local/python"
        subprocess.run([sys.executable, "-m", "venv", self._base], check=True)

    def build(self, name: str) -> None:
        """Follow a stage, after those that it needs."""
        if name in self._built or name not in STAGES:
            return
        self._built.add(name)
        stage = STAGES[name]
        self.build(stage.base)
        workdir = self._root
        for one in stage.instructions:
            match one.word:
                case "WORKDIR":
                    workdir = self.inside(one.text)
                    workdir.mkdir(parents=True, exist_ok=True)
                case "COPY":
                    self._copy(one, workdir)
                case "RUN":
                    self._run(one, stage, workdir)

    def inside(self, path: str) -> Path:
        """Return where a path of the container is."""
        return self._root / path.lstrip("/")

    def mapped(self, text: str) -> str:
        """Return a text with the container's paths as they are here."""
        return FOLDERS.sub(lambda found: f"{self._root}/{found[1]}", text)

    def environment(self, name: str) -> Mapping[str, str]:
        """Return what a target's processes are given."""
        found: dict[str, str] = {}
        for stage in chain(STAGES, name):
            found |= {key: self.mapped(value) for key, value in stage.environment().items()}
        return {**found, "TMPDIR": str(self.inside("tmp"))}

    def _copy(self, copy: Instruction, workdir: Path) -> None:
        *sources, target = copy.words
        if "from" in copy.options:
            self.build(copy.options["from"])
            return  # all stages share one root here, and what they hand on keeps its path
        at = self.inside(target) if target.startswith("/") else workdir / target
        for source in sources:
            found = REPOSITORY / source
            if found.is_dir():
                leave_out = shutil.ignore_patterns("__pycache__")
                shutil.copytree(found, at, ignore=leave_out, dirs_exist_ok=True)
            else:
                at.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, at)

    def _run(self, run: Instruction, stage: Stage, workdir: Path) -> None:
        if NEEDS_ROOT.search(run.text):
            print(f"-- left out, needs root: {run.text[:70]}…")
            return
        print(f"-- {stage.name}: {run.text}", flush=True)
        subprocess.run(
            ["/bin/sh", "-ec", self.mapped(run.text)],
            cwd=workdir,
            check=True,
            env={
                **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
                **stage.arguments(),
                **self._arguments,
                "PATH": f"{self._base}/bin:{os.environ['PATH']}",
            },
        )


def last(name: str, word: str) -> Instruction:
    """Return the instruction of a kind that holds for a target."""
    return [one for stage in chain(STAGES, name) for one in stage.all_of(word)][-1]


def python_in(replay: Replay, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a target's Python in its empty working directory."""
    return subprocess.run(
        [replay.inside("opt/tenstep/bin/python"), *arguments],
        cwd=replay.inside("var/lib/tenstep"),
        env=replay.environment(name),
        capture_output=True,
        text=True,
    )


def tenstep(replay: Replay, name: str, *arguments: str) -> str:
    """Run the command line of a target; returns what it prints."""
    done = python_in(replay, name, str(replay.inside("opt/tenstep/bin/tenstep")), *arguments)
    if done.returncode:
        sys.exit(f"tenstep {' '.join(arguments)}: {done.stderr}")
    return done.stdout


@contextmanager
def started(replay: Replay, name: str, port: str) -> Iterator[None]:
    """Run a target's CMD while the block runs, and end it by SIGTERM."""
    words = [replay.mapped(word).replace(PORT, port) for word in last(name, "CMD").words]
    command = [str(replay.inside("opt/tenstep/bin") / words[0]), *words[1:]]
    print("--", *words, flush=True)
    process = subprocess.Popen(
        command, cwd=replay.inside("var/lib/tenstep"), env=replay.environment(name)
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(STOP_SECONDS)
    print(f"-- SIGTERM ended it, exit code {status}")


def wait_until_healthy(replay: Replay, name: str, port: str) -> None:
    """Ask the target's HEALTHCHECK until it is satisfied."""
    text = last(name, "HEALTHCHECK").text.partition(" CMD ")[2]
    _, *arguments = json.loads(replay.mapped(text))
    if arguments[-1] == "api":
        arguments.append(port)
    deadline = time.monotonic() + HEALTHY_SECONDS
    while (done := python_in(replay, name, *arguments)).returncode:
        if time.monotonic() > deadline:
            sys.exit(f"not healthy: {done.stdout}{done.stderr}")
        time.sleep(1)
    print("-- healthy")


def draw_one(replay: Replay, name: str) -> None:
    """Have the worker draw an image, and fetch it."""
    prompts = replay.inside("var/lib/tenstep/prompts.txt")
    prompts.write_text("a red apple\n")
    batch = json.loads(tenstep(replay, name, "submit", str(prompts), "--json"))["batch_id"]
    deadline = time.monotonic() + DRAWN_SECONDS
    while json.loads(tenstep(replay, name, "status", batch, "--json"))["counts"].get("done") != 1:
        if time.monotonic() > deadline:
            sys.exit("the image is not drawn")
        time.sleep(1)
    drawn = replay.inside("var/lib/tenstep/drawn")
    tenstep(replay, name, "pull", batch, "--to", str(drawn))
    [image] = [path for path in drawn.rglob("*.png") if "sheet" not in path.name]
    print(f"-- drawn: {image.name}, {image.stat().st_size} bytes")


def files_below(folder: Path) -> Mapping[Path, int]:
    """Return all files with the time of their last change."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def replay_target(name: str, arguments: Mapping[str, str], root: Path) -> None:
    """Build a target and run it."""
    replay, port = Replay(root, arguments), str(free_port())
    for folder in ("tmp", "var/lib/tenstep"):
        replay.inside(folder).mkdir(parents=True)
    replay.build(name)
    installed = replay.inside("opt/tenstep")
    has_torch = python_in(replay, name, "-c", "import torch").returncode == 0
    if has_torch != name.startswith("tenstep-worker"):
        sys.exit(f"torch is {'there' if has_torch else 'not there'}")
    before = files_below(installed)
    with started(replay, name, port):
        wait_until_healthy(replay, name, port)
        if has_torch:
            draw_one(replay, name)
    if files_below(installed) != before:
        sys.exit(f"something wrote to {installed}, which is read-only in a container")
    size = sum(path.stat().st_size for path in before)
    print(f"-- {name}: as it should be; /opt/tenstep has {size / 1e6:.0f} MB")


def main(argv: Sequence[str]) -> None:
    """Follow one target in a temporary folder."""
    parser = argparse.ArgumentParser(description="Follow the Dockerfile without a container.")
    parser.add_argument("target", choices=["tenstep", "tenstep-worker"])
    parser.add_argument("--arg", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="tenstep-replay-") as folder:
        arguments = dict(pair.split("=", 1) for pair in options.arg)
        replay_target(options.target, arguments, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
