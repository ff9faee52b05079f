"""The pictures and their names, from three openly licensed emoji sets."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.errors import ConfigurationError, ServiceUnavailableError
from training.data.config import DataConfig
from training.data.dataset import Row, Split, load_dataset, save_dataset
from training.data.notice import Credit, data_notice
from training.data.sheet import save_sheet

logger = logging.getLogger(__name__)

NAMES_PACKAGE = "emojibase-data@17.0.0"
NAMES_CREDIT = Credit("emojibase", "Miles Johnson", "MIT License", NAMES_PACKAGE, use="names")


@dataclass(frozen=True)
class ImageSet:
    """One drawing style: whose it is, and where the pictures lie inside their npm package."""

    style: str
    credit: Credit
    folder: str
    suffix: str

    @property
    def archive(self) -> str:
        """The file name `npm pack` gives the package."""
        return archive_name(self.credit.package)


IMAGE_SETS = (
    ImageSet(
        "noto",
        Credit("Noto Emoji", "Google LLC", "Apache License 2.0", "emoji-datasource-google@16.0.0"),
        "package/img/google/64/",
        ".png",
    ),
    ImageSet(
        "twemoji",
        Credit(
            "Twemoji",
            "Twitter, Inc. and other contributors",
            "graphics licensed under CC-BY 4.0, https://creativecommons.org/licenses/by/4.0/",
            "emoji-datasource-twitter@16.0.0",
            advice="A picture in the flat twemoji style may come close to a Twemoji graphic: "
            "who shows it gives the attribution above.",
        ),
        "package/img/twitter/64/",
        ".png",
    ),
    ImageSet(
        "fluent",
        Credit(
            "Fluent Emoji",
            "Microsoft Corporation",
            "MIT License",
            "@lobehub/fluent-emoji-3d@1.1.0",
        ),
        "package/assets/",
        ".webp",
    ),
)


def works() -> list[Credit]:
    """Return whose works the data are."""
    return [*(images.credit for images in IMAGE_SETS), NAMES_CREDIT]


@dataclass(frozen=True)
class Concept:
    """A thing the model can draw."""

    code: str
    label: str
    group: str
    names: tuple[str, ...]
    core: bool


def archive_name(package: str) -> str:
    """Return "scope-name-1.0.0.tgz" for "@scope/name@1.0.0"."""
    name, version = package.rsplit("@", 1)
    return f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"


def fetch(folder: Path) -> None:
    """Download the packages that are not in `folder` yet.

    Raises:
        ConfigurationError: npm is not installed.
        ServiceUnavailableError: npm could not fetch a package.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packages = [work.package for work in works()]
    missing = [name for name in packages if not (folder / archive_name(name)).exists()]
    npm = shutil.which("npm")
    if missing and npm is None:
        raise ConfigurationError(
            "npm is needed to fetch the pictures, and is not in PATH",
            hint="install Node.js, or put these files into "
            f"{folder}: {', '.join(archive_name(name) for name in missing)}",
        )
    for package in missing:
        logger.info("fetching %s", package)
        done = subprocess.run(
            [str(npm), "pack", "--silent", package],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        if done.returncode or not (folder / archive_name(package)).exists():
            reason = done.stderr.strip() or f"exit status {done.returncode}"
            raise ServiceUnavailableError(
                f"npm could not fetch {package}: {reason}",
                hint=f"see whether `npm pack {package}` works in another folder",
            )


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


def split_of(concept: Concept, style: str, config: DataConfig) -> Split:
    """Keep a fixed few concepts, and (concept, style) pairs, out of training; never a core's."""
    if concept.core:
        return "train"
    if _draw(concept.code) < config.held_out_concepts_per_mille:
        return "held-out concept"
    is_held_out = _draw(f"{concept.code}/{style}") < config.held_out_pairs_per_mille
    return "held-out pair" if is_held_out else "train"


def _draw(name: str) -> int:
    """Return 0 to 999, the same for a name forever."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 1000


def build(downloads: Path, out: Path, config: DataConfig) -> None:
    """Make the data from downloaded packages.

    Leaves `images.npz`, `captions.jsonl`, `NOTICE` and `contact.png`, which shows every picture.
    """
    selection = tomllib.loads((Path(__file__).parent / config.concepts).read_text(encoding="utf-8"))
    concepts = read_concepts(downloads / archive_name(NAMES_PACKAGE), selection)
    logger.info("%d concepts", len(concepts))
    pictures: list[npt.NDArray[np.uint8]] = []
    rows: list[Row] = []
    for images in IMAGE_SETS:
        before = len(rows)
        for concept, picture in read_images(downloads, images, concepts, config.image_size):
            row = Row(
                index=len(pictures),
                concept=concept.code,
                label=concept.label,
                style=images.style,
                group=concept.group,
                core=concept.core,
                names=list(concept.names),
                split=split_of(concept, images.style, config),
            )
            rows.append(row)
            pictures.append(picture)
        logger.info("%s: %d pictures", images.style, len(rows) - before)
    save_dataset(out, np.stack(pictures), rows)
    (out / "NOTICE").write_text(data_notice(works()), encoding="utf-8")
    save_sheet(load_dataset(out), out / "contact.png")
    logger.info("%d pictures are in %s", len(rows), out)
