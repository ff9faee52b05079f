"""The pictures and their captions, from three openly licensed emoji sets.

`images.npz` holds uint8 RGB pictures (N, size, size, 3) on white; `captions.jsonl` has one row a
picture, in the same order.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.captions import captions
from training.config import DataConfig, RunConfig

Pictures = npt.NDArray[np.uint8]
"""RGB, (N, height, width, 3)."""

NAMES_PACKAGE = "emojibase-data@17.0.0"


@dataclass(frozen=True)
class ImageSet:
    """One drawing style: the npm package it comes in and where the pictures lie inside."""

    style: str
    package: str
    folder: str
    suffix: str

    @property
    def archive(self) -> str:
        """The file name `npm pack` gives the package."""
        return archive_name(self.package)


IMAGE_SETS = (
    ImageSet("noto", "emoji-datasource-google@16.0.0", "package/img/google/64/", ".png"),
    ImageSet("twemoji", "emoji-datasource-twitter@16.0.0", "package/img/twitter/64/", ".png"),
    ImageSet("fluent", "@lobehub/fluent-emoji-3d@1.1.0", "package/assets/", ".webp"),
)


@dataclass(frozen=True)
class Concept:
    """A thing the model can draw."""

    code: str
    label: str
    group: str
    names: tuple[str, ...]
    core: bool


@dataclass(frozen=True)
class Row:
    """One picture: what it shows, in which style, and whether training may see it."""

    index: int
    concept: str
    label: str
    style: str
    group: str
    core: bool
    names: list[str]
    split: Literal["train", "held-out"]


@dataclass(frozen=True)
class Dataset:
    """All pictures (N, size, size, 3) uint8 and their rows."""

    images: npt.NDArray[np.uint8]
    rows: list[Row]
    #: SHA-256 of the pictures' bytes and the rows.
    digest: str


def archive_name(package: str) -> str:
    """Return "scope-name-1.0.0.tgz" for "@scope/name@1.0.0"."""
    name, version = package.rsplit("@", 1)
    return f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"


def fetch(folder: Path) -> None:
    """Download the packages that are not in `folder` yet."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is needed to fetch the pictures, and is not in PATH")
    folder.mkdir(parents=True, exist_ok=True)
    for package in [NAMES_PACKAGE, *(images.package for images in IMAGE_SETS)]:
        if not (folder / archive_name(package)).exists():
            command = [npm, "pack", "--silent", package]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def normal_code(code: str) -> str:
    """Return an emoji's code points without variation selectors: "002a-fe0f-20e3" -> "2A-20E3"."""
    parts = (part.lstrip("0").upper() for part in code.split("-"))
    return "-".join(part for part in parts if part not in {"FE0F", "FE0E"})


def read_concepts(names_archive: Path, selection: dict[str, Any]) -> dict[str, Concept]:
    """Return the chosen concepts by normal code."""
    with tarfile.open(names_archive) as archive:
        messages = _json_member(archive, "package/en/messages.json")
        entries = _json_member(archive, "package/en/data.json")
    groups = {group["order"]: group["key"] for group in messages["groups"]}
    core: dict[str, list[str]] = selection["core"]
    wanted, excluded = set(selection["include"]) | set(core), set(selection["exclude"])
    chosen = {}
    for entry in entries:
        label, group = entry["label"], groups.get(entry.get("group"), "")
        if label in wanted or (group in selection["groups"] and label not in excluded):
            code = normal_code(entry["hexcode"])
            chosen[code] = Concept(code, label, group, (label, *core.get(label, [])), label in core)
    missing = wanted - {concept.label for concept in chosen.values()}
    if missing:
        raise ValueError(f"no emoji is called {sorted(missing)}")
    _refuse_double_names(chosen)
    return chosen


def _refuse_double_names(concepts: dict[str, Concept]) -> None:
    owner: dict[str, str] = {}
    for concept in concepts.values():
        for name in concept.names:
            other = owner.setdefault(name.lower(), concept.label)
            if other != concept.label:
                raise ValueError(f"{name!r} names both {other!r} and {concept.label!r}")


def _json_member(archive: tarfile.TarFile, name: str) -> Any:
    member = archive.extractfile(name)
    if member is None:
        raise FileNotFoundError(name)
    return json.load(member)


def on_white(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """Return a picture as (size, size, 3).

    One of another size is trimmed and fitted with a small margin.
    """
    image = image.convert("RGBA")
    box = image.getchannel("A").getbbox()
    if box and image.size != (size, size):
        image = image.crop(box)
        scale = 0.97 * size / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (size, size), "white")
    canvas.alpha_composite(image, ((size - image.width) // 2, (size - image.height) // 2))
    return np.asarray(canvas.convert("RGB"))


def read_images(
    folder: Path, images: ImageSet, wanted: dict[str, Concept], size: int
) -> Iterator[tuple[Concept, npt.NDArray[np.uint8]]]:
    """Yield the wanted pictures of one set, in the order of their codes."""
    found = {}
    with tarfile.open(folder / images.archive) as archive:
        for member in archive:
            name = member.name
            if name.startswith(images.folder) and name.endswith(images.suffix):
                code = normal_code(name.removeprefix(images.folder).removesuffix(images.suffix))
                if code in wanted and (file := archive.extractfile(member)):
                    found[code] = on_white(Image.open(file), size)
    for code in sorted(found):
        yield wanted[code], found[code]


def split_of(concept: Concept, style: str, held_out_per_mille: int) -> Literal["train", "held-out"]:
    """Keep a fixed few (concept, style) pairs out of training; never a core concept's."""
    draw = int(hashlib.sha256(f"{concept.code}/{style}".encode()).hexdigest(), 16) % 1000
    return "held-out" if draw < held_out_per_mille and not concept.core else "train"


def build(downloads: Path, out: Path, config: DataConfig) -> None:
    """Write `images.npz` and `captions.jsonl` from downloaded packages."""
    selection = tomllib.loads((Path(__file__).parent / config.concepts).read_text(encoding="utf-8"))
    concepts = read_concepts(downloads / archive_name(NAMES_PACKAGE), selection)
    pictures: list[npt.NDArray[np.uint8]] = []
    rows: list[Row] = []
    for images in IMAGE_SETS:
        for concept, picture in read_images(downloads, images, concepts, config.image_size):
            row = Row(
                index=len(pictures),
                concept=concept.code,
                label=concept.label,
                style=images.style,
                group=concept.group,
                core=concept.core,
                names=list(concept.names),
                split=split_of(concept, images.style, config.held_out_per_mille),
            )
            rows.append(row)
            pictures.append(picture)
    save(out, np.stack(pictures), rows)


def save(folder: Path, images: npt.NDArray[np.uint8], rows: Sequence[Row]) -> None:
    """Write `images.npz` and `captions.jsonl`, each row with an example of its captions."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps(
            {**vars(row), "caption": captions(row.names, row.style)["styled"][0]},
            ensure_ascii=False,
        )
        for row in rows
    ]
    (folder / "captions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    np.savez_compressed(folder / "images.npz", images=images)


def load(folder: Path) -> Dataset:
    """Read what `build` wrote."""
    text = (folder / "captions.jsonl").read_text(encoding="utf-8")
    with np.load(folder / "images.npz") as archive:
        images = archive["images"]
    rows = [
        Row(**{key: value for key, value in json.loads(line).items() if key != "caption"})
        for line in text.splitlines()
    ]
    digest = hashlib.sha256(images.tobytes() + text.encode()).hexdigest()
    return Dataset(images, rows, digest)


def main() -> None:
    """Fetch and build the data of a run."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument(
        "--work", type=Path, default=Path("runs"), help="folder of downloads and results"
    )
    arguments = parser.parse_args()
    config = RunConfig.read(arguments.config)
    fetch(arguments.work / "downloads")
    build(arguments.work / "downloads", arguments.work / config.name / "data", config.data)


if __name__ == "__main__":
    main()
