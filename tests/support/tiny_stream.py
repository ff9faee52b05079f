"""A WebDataset of a few pictures, and a training run of seconds on it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

from PIL import Image

from support.tiny_training import STAGE, tiny_run
from training.config import RunConfig

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "black")


def write_coloured_shards(folder: Path) -> None:
    """Write two shards of pictures of one colour each, which their captions name."""
    folder.mkdir(parents=True)
    for number, colours in enumerate((COLOURS[:3], COLOURS[3:])):
        with tarfile.open(folder / f"{number:03}.tar", "w") as archive:
            for colour in colours:
                picture = io.BytesIO()
                Image.new("RGB", (40, 32), colour).save(picture, "PNG")
                _add(archive, f"{colour}.png", picture.getvalue())
                _add(archive, f"{colour}.txt", f"a picture that is {colour}".encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def streamed_run(folder: Path, *phases: dict[str, Any], **changed: Any) -> RunConfig:
    """Return a run on what `write_coloured_shards` wrote into a folder, with a NOTICE."""
    (folder / "works.txt").write_text("Colours by Ada Example, CC0.\n", "utf-8")
    default = ({"name": "low", "steps": 3, "image_size": 16}, {"name": "high", "steps": 3})
    data = {
        "source": "webdataset",
        "paths": [str(folder / "{000..001}.tar")],
        "image_size": 32,
        "shuffle_buffer": 3,
        "random_crop": True,
        "random_flip": True,
        "licence": "CC0-1.0",
        "notice": str(folder / "works.txt"),
    }
    return tiny_run(
        *(phases or default),
        **{"data": data, "threads": 1, "decoder": {**STAGE, "steps": 2}, **changed},
    )
