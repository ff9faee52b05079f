"""Concepts, pictures and the split."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import ConfigurationError, InputError
from training.data import emoji
from training.data.__main__ import main
from training.data.config import DataConfig
from training.data.dataset import load_dataset
from training.data.notice import (
    Credit,
    data_notice,
    keep_notice,
    model_notice,
    notice_of_other_data,
)


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


CREDIT = Credit(
    "Small Emoji",
    "Ada Example",
    "CC-BY 4.0, https://creativecommons.org/licenses/by/4.0/",
    "noto@1.0.0",
    advice="Who shows it gives the attribution above.",
)


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages of two concepts in one style; one of the concepts is core."""
    folder = tmp_path / "runs" / "downloads"
    folder.mkdir(parents=True)
    names_archive(
        folder / emoji.archive_name(emoji.NAMES_PACKAGE),
        {"1F34E": "red apple", "1F34F": "green apple"},
    )
    with tarfile.open(folder / "noto-1.0.0.tgz", "w:gz") as archive:
        add(archive, "package/img/1f34f.png", png(64, (0, 0, 64, 64)))
        add(archive, "package/img/1f34e.png", png(64, (0, 0, 64, 64)))
        add(archive, "package/img/1f34e-1f3fb.png", png(64, (0, 0, 64, 64)))
    (tmp_path / "concepts.toml").write_text(
        'groups = ["food-drink"]\nexclude = []\ninclude = []\n[core]\n"red apple" = ["apple"]\n'
    )
    sets = (emoji.ImageSet("noto", CREDIT, "package/img/", ".png"),)
    monkeypatch.setattr(emoji, "IMAGE_SETS", sets)
    return folder


@pytest.fixture
def config(downloads: Path, tmp_path: Path) -> DataConfig:
    return DataConfig(
        concepts=str(tmp_path / "concepts.toml"),
        held_out_concepts_per_mille=0,
        held_out_pairs_per_mille=1000,
    )


def test_build_and_load(downloads: Path, config: DataConfig, tmp_path: Path) -> None:
    emoji.build(downloads, tmp_path / "out", config)
    found = load_dataset(tmp_path / "out")
    assert found.images.shape == (2, 64, 64, 3)
    assert found.images.dtype == np.uint8
    assert [(row.label, row.split) for row in found.rows] == [
        ("red apple", "train"),
        ("green apple", "held-out pair"),
    ]
    assert found.rows[0].names == ["red apple", "apple"]
    assert load_dataset(tmp_path / "out").digest == found.digest


def test_build_leaves_a_notice_and_a_sheet_of_every_picture(
    downloads: Path, config: DataConfig, tmp_path: Path
) -> None:
    emoji.build(downloads, tmp_path / "out", config)
    notice = (tmp_path / "out" / "NOTICE").read_text("utf-8")
    assert "Small Emoji, copyright Ada Example, CC-BY 4.0" in notice
    assert "(npm package noto 1.0.0)" in notice
    assert "emojibase, copyright Miles Johnson, MIT License" in notice
    colours = Image.open(tmp_path / "out" / "contact.png").convert("RGB").getcolors(1 << 20) or []
    # Both pictures are red all over; the one held out has an orange frame.
    counts = {colour: count for count, colour in colours}
    assert counts[255, 0, 0] == 2 * 36 * 36
    assert (255, 165, 0) in counts


def test_both_notices_name_every_work_and_its_version() -> None:
    for notice in (data_notice(emoji.works()), model_notice("A model", emoji.works())):
        text = " ".join(notice.split())
        for work in emoji.works():
            name, version = work.package.rsplit("@", 1)
            assert f"{work.title}, copyright {work.holder}, {work.licence}" in text
            assert f"(npm package {name} {version})" in text
        assert "who shows it gives the attribution above" in text
        assert max(map(len, notice.splitlines())) <= 100


def test_notice_of_a_model_of_other_data_says_what_its_maker_wrote(tmp_path: Path) -> None:
    (tmp_path / "works.txt").write_text("Pictures by Ada Example, CC-BY 4.0.\n", "utf-8")
    keep_notice(tmp_path / "works.txt", tmp_path / "data")
    notice = notice_of_other_data("A model", "CC-BY-4.0", tmp_path / "data")
    assert notice.startswith("A model\n")
    assert "licensed under: CC-BY-4.0" in notice
    assert notice.endswith("\nPictures by Ada Example, CC-BY 4.0.\n")
    assert "Apache" not in notice


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"\xe9", "is not UTF-8"), (b" \n", "is empty")],
)
def test_notice_that_says_nothing_is_refused(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "works.txt").write_bytes(content)
    with pytest.raises(InputError, match=f"works.txt: {message}"):
        keep_notice(tmp_path / "works.txt", tmp_path / "data")


def test_missing_npm_is_named_with_the_files_that_would_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="npm") as caught:
        emoji.fetch(tmp_path / "downloads")
    assert "emojibase-data-17.0.0.tgz" in (caught.value.hint or "")


def write_config(folder: Path, data: str) -> Path:
    """Write the small model's configuration with a [data] section of its own."""
    text = (Path(__file__).parents[3] / "training" / "configs" / "emoji-64.toml").read_text("utf-8")
    (folder / "run.toml").write_text(f"{text}\n[data]\n{data}\n", "utf-8")
    return folder / "run.toml"


def test_command_builds_and_sums_up(
    downloads: Path, config: DataConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(
        tmp_path,
        f'concepts = "{config.concepts}"\n'
        "held_out_concepts_per_mille = 0\nheld_out_pairs_per_mille = 1000",
    )
    assert main(["emoji", str(path), "--work", str(downloads.parent), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary == {
        "pictures": {"noto": {"train": 1, "held-out pair": 1}},
        "concepts": 2,
        "digest": load_dataset(downloads.parent / "emoji-64" / "data").digest,
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("colour = 1", "data.colour: Extra inputs"),
        ('source = "webdataset"', "needs paths"),
        ('paths = ["a.tar"]', "paths, licence, notice are for source"),
        ('source = "webdataset"\npaths = ["pipe:cat a.tar"]', "no command is run"),
        ('source = "magic"', "data.source"),
        ("image_size = 0", "data.image_size"),
        ("bad_share = 1", "data.bad_share"),
        ("max_image_pixels = 1000000000", "data.max_image_pixels"),
    ],
)
def test_wrong_configuration_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: str, message: str
) -> None:
    assert main(["emoji", str(write_config(tmp_path, data)), "--work", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert str(tmp_path / "run.toml") in error


def test_of_a_stream_there_is_nothing_to_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path, 'source = "folder"\npaths = ["a"]\nlicence = "CC0"\nnotice = "b"')
    path.write_text(path.read_text("utf-8").replace("core_weight = 4.0\n", ""), "utf-8")
    assert main(["emoji", str(path), "--work", str(tmp_path)]) == 2
    assert "there is nothing to build" in capsys.readouterr().err


def test_missing_configuration_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emoji", str(tmp_path / "none.toml")]) == 2
    assert "none.toml: No such file" in capsys.readouterr().err


def test_check_lists_bad_lines_and_says_so_by_its_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "1.png").write_bytes(png(8, (0, 0, 8, 8)))
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "1.png", "text": "a red square"}\n'
        '{"file_name": "2.png", "text": "another"}\n'
    )
    assert main(["check", str(tmp_path)]) == 1
    assert "line 2: file_name: there is no such file" in capsys.readouterr().out
    assert main(["check", str(tmp_path), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["good"], document["bad"]) == (1, 1)
    assert document["flaws"] == [
        {
            "source": str(tmp_path / "metadata.jsonl"),
            "example": "line 2",
            "field": "file_name",
            "reason": "there is no such file",
        }
    ]


def test_check_of_good_data_succeeds_and_of_none_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(tmp_path)]) == 2
    assert "no .tar file" in capsys.readouterr().err
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "1.png", "text": "a red square"}\n')
    (tmp_path / "1.png").write_bytes(png(8, (0, 0, 8, 8)))
    assert main(["check", str(tmp_path)]) == 0
    assert "1 good, 0 bad" in capsys.readouterr().out
