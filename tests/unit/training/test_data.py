"""Concepts, pictures and the split."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.config import DataConfig
from training.data import emoji
from training.data.dataset import load_dataset


def concept(label: str, *, core: bool) -> emoji.Concept:
    return emoji.Concept("1F34E", label, "food-drink", (label,), core)


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def png(size: int, box: tuple[int, int, int, int]) -> bytes:
    image = Image.new("RGBA", (size, size))
    image.paste((255, 0, 0, 255), box)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def names_archive(path: Path, labels: dict[str, str]) -> None:
    entries = [{"label": label, "hexcode": code, "group": 4} for code, label in labels.items()]
    with tarfile.open(path, "w:gz") as archive:
        groups = {"groups": [{"order": 4, "key": "food-drink"}]}
        add(archive, "package/en/messages.json", json.dumps(groups).encode())
        add(archive, "package/en/data.json", json.dumps(entries).encode())


@pytest.mark.parametrize(
    ("code", "expected"), [("002a-fe0f-20e3", "2A-20E3"), ("1f34e", "1F34E"), ("2764-FE0F", "2764")]
)
def test_normal_code(code: str, expected: str) -> None:
    assert emoji.normal_code(code) == expected


def test_archive_name_follows_npm() -> None:
    assert emoji.archive_name("@scope/name@1.1.0") == "scope-name-1.1.0.tgz"
    assert emoji.archive_name("name@16.0.0") == "name-16.0.0.tgz"


def test_small_picture_is_trimmed_and_centred_on_white() -> None:
    picture = emoji.on_white(Image.open(io.BytesIO(png(100, (0, 0, 20, 20)))), 64)
    assert picture.shape == (64, 64, 3)
    assert tuple(picture[32, 32]) == (255, 0, 0)
    assert tuple(picture[0, 0]) == (255, 255, 255)


def test_picture_of_the_right_size_is_left_where_it_is() -> None:
    picture = emoji.on_white(Image.open(io.BytesIO(png(64, (0, 0, 8, 8)))), 64)
    assert tuple(picture[0, 0]) == (255, 0, 0)
    assert tuple(picture[8, 8]) == (255, 255, 255)


def test_core_concepts_are_never_held_out() -> None:
    everything = DataConfig(held_out_concepts_per_mille=1000, held_out_pairs_per_mille=1000)
    assert emoji.split_of(concept("red apple", core=True), "noto", everything) == "train"
    assert emoji.split_of(concept("red apple", core=False), "noto", everything) == (
        "held-out concept"
    )


def test_concept_is_held_out_in_every_style_or_pair_by_pair() -> None:
    apple = concept("red apple", core=False)
    styles = ("noto", "twemoji", "fluent")
    pairs = DataConfig(held_out_concepts_per_mille=0, held_out_pairs_per_mille=1000)
    nothing = DataConfig(held_out_concepts_per_mille=0, held_out_pairs_per_mille=0)
    assert {emoji.split_of(apple, style, pairs) for style in styles} == {"held-out pair"}
    assert {emoji.split_of(apple, style, nothing) for style in styles} == {"train"}


def test_unknown_label_is_refused(tmp_path: Path) -> None:
    names_archive(tmp_path / "names.tgz", {"1F34E": "red apple"})
    selection = {"groups": [], "exclude": [], "include": ["blue apple"], "core": {}}
    with pytest.raises(ValueError, match="blue apple"):
        emoji.read_concepts(tmp_path / "names.tgz", selection)


def test_name_of_two_concepts_is_refused(tmp_path: Path) -> None:
    names_archive(tmp_path / "names.tgz", {"1F34E": "red apple", "1F34F": "green apple"})
    selection = {
        "groups": ["food-drink"],
        "exclude": [],
        "include": [],
        "core": {"red apple": ["green apple"]},
    }
    with pytest.raises(ValueError, match="green apple"):
        emoji.read_concepts(tmp_path / "names.tgz", selection)


def test_build_and_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names_archive(
        tmp_path / emoji.archive_name(emoji.NAMES_PACKAGE),
        {"1F34E": "red apple", "1F34F": "green apple"},
    )
    sets = (emoji.ImageSet("noto", "noto@1.0.0", "package/img/", ".png"),)
    with tarfile.open(tmp_path / "noto-1.0.0.tgz", "w:gz") as archive:
        add(archive, "package/img/1f34f.png", png(64, (0, 0, 64, 64)))
        add(archive, "package/img/1f34e.png", png(64, (0, 0, 64, 64)))
        add(archive, "package/img/1f34e-1f3fb.png", png(64, (0, 0, 64, 64)))
    concepts = tmp_path / "concepts.toml"
    concepts.write_text(
        'groups = ["food-drink"]\nexclude = []\ninclude = []\n[core]\n"red apple" = ["apple"]\n'
    )
    monkeypatch.setattr(emoji, "IMAGE_SETS", sets)
    config = DataConfig(
        concepts=str(concepts), held_out_concepts_per_mille=0, held_out_pairs_per_mille=1000
    )
    emoji.build(tmp_path, tmp_path / "out", config)
    found = load_dataset(tmp_path / "out")
    assert found.images.shape == (2, 64, 64, 3)
    assert found.images.dtype == np.uint8
    assert [(row.label, row.split) for row in found.rows] == [
        ("red apple", "train"),
        ("green apple", "held-out pair"),
    ]
    assert found.rows[0].names == ["red apple", "apple"]
    assert load_dataset(tmp_path / "out").digest == found.digest
