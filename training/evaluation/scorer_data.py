"""What the scorer learns from: drawing styles that no generator of ours is trained on.

OpenMoji (CC-BY-SA-4.0) and Fluent Emoji's flat drawings (MIT), by the names of emojibase.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from shared.errors import ConfigurationError, InputError
from training.autoencoder import as_images, as_tensor
from training.data import emoji
from training.data.captions import STYLES, captions
from training.data.dataset import Pictures

SIDE = 64
"""Pixels of a picture: as large as those that are scored."""
_DRAWN_AT = 256
"""Pixels that a vector drawing is rasterised at, before it is trimmed and fitted."""
_GROUPS = (
    *("smileys-emotion", "people-body", "animals-nature", "food-drink", "travel-places"),
    *("activities", "objects", "symbols"),
)
"""All that emojibase has, but flags and parts of emoji."""
_SELECTION = Path(emoji.__file__).parent / "concepts.toml"


@dataclass(frozen=True, slots=True)
class VectorSet:
    """One drawing style: the npm package it comes in and where its SVG files lie inside."""

    package: str
    folder: str


VECTOR_SETS = (
    VectorSet("openmoji@17.0.0", "package/color/svg/"),
    VectorSet("@lobehub/fluent-emoji-flat@1.1.0", "package/assets/"),
)
PACKAGES = (emoji.NAMES_PACKAGE, *(vectors.package for vectors in VECTOR_SETS))


@dataclass(frozen=True, slots=True)
class Lessons:
    """Pictures and what they show."""

    pictures: Pictures
    """(N, SIDE, SIDE, 3), uint8."""
    concepts: Sequence[int]
    """N places in `captions`."""
    captions: Sequence[Sequence[str]]
    """Of each concept, without a word of style."""


def archives(downloads: Path) -> dict[str, str]:
    """Return the SHA-256 of the archives that the lessons are in, by package.

    Raises:
        InputError: one is missing; says how to fetch it.
    """
    missing = [name for name in PACKAGES if not (downloads / emoji.archive_name(name)).is_file()]
    if missing:
        raise InputError(
            f"{downloads}: the scorer learns from {', '.join(missing)}, and that is not here",
            hint=f"npm pack {' '.join(missing)}, in that folder; or name another: --downloads",
        )
    files = {name: downloads / emoji.archive_name(name) for name in PACKAGES}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def read_lessons(downloads: Path) -> Lessons:
    """Draw every concept in every style.

    Raises:
        ConfigurationError: the package that rasterises vectors is not installed.
    """
    core = tomllib.loads(_SELECTION.read_text(encoding="utf-8"))["core"]
    names = downloads / emoji.archive_name(emoji.NAMES_PACKAGE)
    concepts = emoji.read_concepts(
        names, {"core": core, "include": [], "exclude": [], "groups": _GROUPS}
    )
    places = {code: place for place, code in enumerate(concepts)}
    pictures, shown = [], []
    for vectors in VECTOR_SETS:
        for code, picture in _drawn(downloads, vectors, places.keys()):
            pictures.append(picture)
            shown.append(places[code])
    texts = [unstyled_captions(concept.names) for concept in concepts.values()]
    return Lessons(np.stack(pictures), shown, texts)


def unstyled_captions(names: Sequence[str]) -> list[str]:
    """Return the different captions of a concept that have no word of its style."""
    return list(dict.fromkeys(captions(names, next(iter(STYLES)))["plain"]))


def _drawn(downloads: Path, vectors: VectorSet, wanted: Any) -> Iterator[tuple[str, Pictures]]:
    svg_to_bytes = _rasteriser()
    with tarfile.open(downloads / emoji.archive_name(vectors.package)) as archive:
        for member in archive:
            name = member.name
            if not (name.startswith(vectors.folder) and name.endswith(".svg")):
                continue
            code = emoji.normal_code(name.removeprefix(vectors.folder).removesuffix(".svg"))
            file = archive.extractfile(member)
            if code in wanted and file is not None:
                text = file.read().decode()
                png = svg_to_bytes(text, width=_DRAWN_AT, height=_DRAWN_AT, skip_system_fonts=True)
                yield code, emoji.on_white(Image.open(io.BytesIO(png)), SIDE)


def _rasteriser() -> Any:
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise ConfigurationError(
            "the scorer's pictures are vectors, which the package resvg-py rasterises",
            hint="pip install 'tenstep[train]'",
        ) from error
    return svg_to_bytes


def varied(pictures: Pictures, seed: int) -> Pictures:
    """Return pictures (N, H, W, 3), each turned, moved, shaded, recoloured and blurred at random.

    The features that the scorer reads were never taught that an outline, a shade or a soft edge
    is but a manner of drawing; it learns so from these.
    """
    generator = torch.Generator().manual_seed(seed)
    planes = _moved(as_tensor(pictures), generator)
    planes = _recoloured(planes, generator)
    return as_images(_blurred(planes, generator))


def _moved(planes: Tensor, generator: torch.Generator) -> Tensor:
    """Flip every second picture; turn, shrink and move all a little, over white."""
    count = len(planes)
    angle, size, right, down, flip = torch.rand((5, count), generator=generator)
    angle, zoom = (angle - 0.5) * 0.4, 1.0 + (size - 0.25) * 0.3
    mirrored = torch.where(flip < 0.5, -1.0, 1.0)  # noqa: PLR2004 - half of them
    rows = (
        torch.stack([mirrored * zoom * angle.cos(), -zoom * angle.sin(), (right - 0.5) * 0.2], 1),
        torch.stack([mirrored * zoom * angle.sin(), zoom * angle.cos(), (down - 0.5) * 0.2], 1),
    )
    grid = functional.affine_grid(torch.stack(rows, 1), list(planes.shape), align_corners=False)
    # What is outside becomes 0: below 0 lies all that is darker than white.
    moved: Tensor = functional.grid_sample(planes - 1, grid, align_corners=False) + 1
    return moved


def _recoloured(planes: Tensor, generator: torch.Generator) -> Tensor:
    """Shade pictures along a line, and make each colour a little stronger or weaker."""
    count, _, height, width = planes.shape
    angle, depth = torch.rand((2, count, 1, 1, 1), generator=generator)
    gains = torch.rand((count, 3, 1, 1), generator=generator) * 0.3 + 0.8
    across = torch.linspace(-1, 1, width)
    along = torch.linspace(-1, 1, height)[:, None]
    slope = (angle * torch.pi * 2).cos() * across + (angle * torch.pi * 2).sin() * along
    ink = (1 - planes).amax(dim=1, keepdim=True).clamp(max=0.2) / 0.2  # the ground stays white
    light = (planes + 1) * gains * (1 + slope * depth * 0.35) - 1
    shaded: Tensor = (planes + ink * (light - planes)).clamp(-1, 1)
    return shaded


def _blurred(planes: Tensor, generator: torch.Generator) -> Tensor:
    """Mix each picture with a copy of a half or a third of its size."""
    share, which = torch.rand((2, len(planes), 1, 1, 1), generator=generator)
    soft, softer = (_rescaled(planes, 1 / times) for times in (2, 3))
    blurred = torch.where(which < 0.7, soft, softer)  # noqa: PLR2004 - most are not so soft
    mixed: Tensor = planes + share * (blurred - planes)
    return mixed


def _rescaled(planes: Tensor, by: float) -> Tensor:
    small = functional.interpolate(planes, scale_factor=by, mode="area")
    large: Tensor = functional.interpolate(
        small, size=planes.shape[2:], mode="bilinear", align_corners=False
    )
    return large
