"""What a stream leaves out, what it never does, and where it reads."""

from __future__ import annotations

import io
import logging
import tarfile
from pathlib import Path

import pytest
import webdataset
from PIL import Image

from shared.errors import InputError
from support.streams import (
    SETTINGS,
    captions_of,
    example,
    flat,
    found_flaws,
    picture,
    taken,
    write_list,
    write_shards,
    write_tar,
)
from training.data.check import check
from training.data.config import DataConfig
from training.data.examples import Entry, Flaw, Limits
from training.data.listing import LIST_NAME
from training.data.sources import open_shards
from training.data.stream import ImageTextStream, StreamSettings

# What is bad


def test_bad_examples_are_skipped_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    examples = [(f"{number}", example(number)) for number in range(6)]
    examples[1][1]["png"] = b"no picture"
    del examples[3][1]["txt"]
    write_tar(tmp_path / "a.tar", examples)
    stream = ImageTextStream(open_shards([str(tmp_path)], Limits()), SETTINGS)
    with caplog.at_level(logging.WARNING):
        captions = flat(captions_of(stream, 0, 9, 3))
    assert set(captions) == {f"picture {number}" for number in (0, 2, 4, 5)}
    named = [record.getMessage() for record in caplog.records]
    assert len(named) == stream.tally.bad == 2
    assert any(": 1: png: unreadable image" in line for line in named)
    assert any(": 3: txt: missing caption" in line for line in named)


def test_too_many_bad_examples_end_the_run(tmp_path: Path) -> None:
    examples = [(f"{number}", example(number)) for number in range(20)]
    for _, files in examples[:15]:
        files["png"] = b"no picture"
    write_tar(tmp_path / "a.tar", examples)
    stream = ImageTextStream(open_shards([str(tmp_path)], Limits()), SETTINGS)
    with pytest.raises(InputError, match="of the examples are bad") as caught:
        taken(stream, 0, 200, 4)
    assert "check" in str(caught.value.hint)


def test_source_without_a_good_example_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("one", {"png": picture(1)})])
    stream = ImageTextStream(open_shards([str(tmp_path)], Limits()), SETTINGS)
    with pytest.raises(InputError, match="no good example"):
        next(stream.batches(0, 1))


def test_check_and_stream_know_the_same_flaws_of_a_shard(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "a.tar",
        [
            ("good", example(1)),
            ("no-image", {"txt": b"alone"}),
            ("no-caption", {"png": picture(1), "json": b'{"text": null}'}),
            ("blank", {"png": picture(1), "txt": b" \n"}),
            ("latin", {"png": picture(1), "txt": b"\xe9t\xe9"}),
            ("number", {"png": picture(1), "json": b'{"text": 7}'}),
            ("broken-json", {"png": picture(1), "json": b"{"}),
            ("good", example(2)),
            ("huge", {"png": picture(1, (100, 100)), "txt": b"huge"}),
            ("last", example(3)),
        ],
    )
    limits = Limits(pixels=99 * 100)
    report = check([str(tmp_path)], limits)
    assert [(flaw.example, flaw.field) for flaw in report.flaws] == [
        ("no-image", "image"),
        ("no-caption", "text"),
        ("blank", "txt"),
        ("latin", "txt"),
        ("number", "text"),
        ("broken-json", "json"),
        ("good", "png"),
        ("huge", "png"),
    ]
    assert report.flaws[-2].reason == "duplicate key"
    assert report.flaws[-1].reason == "too large: 10000 pixels, at most 9900"
    stream = ImageTextStream(open_shards([str(tmp_path)], limits), SETTINGS, limits)
    assert {caption for _, caption in stream.epoch(0)} == {"picture 1", "picture 3"}
    assert report.good == 2


def test_check_and_stream_know_the_same_flaws_of_a_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(picture(9))
    folder = tmp_path / "pictures"
    write_list(
        folder,
        [
            {"file_name": "1.png", "text": "picture 1"},
            {"file_name": "sub/2.png", "caption": "picture 2"},
            "",
            {"file_name": "../outside.png", "text": "out"},
            {"file_name": str(outside), "text": "out"},
            {"file_name": "link.png", "text": "out"},
            {"file_name": "missing.png", "text": "missing"},
            {"file_name": "1.png"},
            {"file_name": "./1.png", "text": "again"},
            {"text": "nameless"},
            "[1, 2]",
            "{",
            {"file_name": "3.png", "text": "picture 3"},
        ],
    )
    (folder / "sub").mkdir()
    for name, number in {"1.png": 1, "sub/2.png": 2, "3.png": 3}.items():
        (folder / name).write_bytes(picture(number))
    (folder / "link.png").symlink_to(outside)
    report = check([str(folder)], Limits())
    assert [(flaw.example, flaw.field) for flaw in report.flaws] == [
        ("line 4", "file_name"),
        ("line 5", "file_name"),
        ("line 6", "file_name"),
        ("line 7", "file_name"),
        ("line 8", "text"),
        ("line 9", "file_name"),
        ("line 10", "file_name"),
        ("line 11", "line"),
        ("line 12", "line"),
    ]
    assert [flaw.reason for flaw in report.flaws[:3]] == [
        "leaves the folder",
        "leaves the folder",
        "a link leads out of the folder",
    ]
    stream = ImageTextStream(open_shards([str(folder)], Limits()), SETTINGS)
    assert {caption for _, caption in stream.epoch(0)} == {f"picture {n}" for n in (1, 2, 3)}
    assert report.good == 3


def test_long_list_is_cut_into_shards_and_read_whole(tmp_path: Path) -> None:
    write_list(
        tmp_path, [{"file_name": f"{number}.png", "text": f"{number}"} for number in range(2500)]
    )
    with (tmp_path / LIST_NAME).open("a") as file:
        file.write('{"file_name": "long.png", "text": "' + "x" * 3_000_000 + '"}\n')
        file.write('{"file_name": "last.png", "text": "last"}')
    shards = open_shards([str(tmp_path)], Limits())
    found = [found for shard in shards for found in shard.entries()]
    captions = [entry.caption for entry in found if isinstance(entry, Entry)]
    assert len(shards) == 3
    assert captions == [*(str(number) for number in range(2500)), "last"]
    assert [(place, field) for place, field, _ in found_flaws(shards)] == [("line 2501", "line")]


def test_captions_are_cut_and_large_files_refused(tmp_path: Path) -> None:
    limits = Limits(image_bytes=2000, caption_characters=5)
    large = {"png": picture(1) + bytes(2000), "txt": b"large"}
    write_tar(
        tmp_path / "a.tar", [("a", {"png": picture(1), "txt": "äöüßéàè".encode()}), ("b", large)]
    )
    (shard,) = open_shards([str(tmp_path)], limits)
    good, bad = shard.entries()
    assert isinstance(good, Entry)
    assert good.caption == "äöüßé"
    assert isinstance(bad, Flaw)
    assert "too large" in bad.reason


def test_a_long_strip_is_made_small_without_being_scaled_whole(tmp_path: Path) -> None:
    strip = picture(1, (1, 60_000))
    write_tar(tmp_path / "a.tar", [("one", {"png": strip, "txt": b"a strip"})])
    shards = open_shards([str(tmp_path)], Limits())
    stream = ImageTextStream(shards, StreamSettings(image_size=256))
    pixels, _ = next(stream.batches(0, 1))
    assert pixels.shape == (1, 256, 256, 3)


def test_more_pixels_than_pillow_opens_are_a_flaw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    write_tar(
        tmp_path / "a.tar",
        [("one", example(1)), ("two", {**example(2), "png": picture(2, (99, 99))})],
    )
    assert [flaw.reason[:9] for flaw in check([str(tmp_path)], Limits()).flaws] == ["too large"] * 2


#: An example takes four blocks: two headers, a picture and a caption.
EXAMPLE_BYTES = 4 * 512


@pytest.mark.parametrize("past", [3, 600, 1100, EXAMPLE_BYTES])
def test_cut_off_shard_is_a_flaw_behind_what_is_whole(tmp_path: Path, past: int) -> None:
    write_tar(tmp_path / "a.tar", [(f"{number}", example(number)) for number in range(4)])
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: EXAMPLE_BYTES + past])
    report = check([str(tmp_path)], Limits())
    assert report.flaws[-1].example == "archive"
    assert report.good == (2 if past == EXAMPLE_BYTES else 1)


def test_damaged_header_is_a_flaw_behind_what_is_whole(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [(f"{number}", example(number)) for number in range(4)])
    content = bytearray((tmp_path / "a.tar").read_bytes())
    content[2 * EXAMPLE_BYTES : 2 * EXAMPLE_BYTES + 512] = b"\xff" * 512
    (tmp_path / "a.tar").write_bytes(content)
    report = check([str(tmp_path)], Limits())
    assert [flaw.example for flaw in report.flaws] == ["archive"]
    assert f"byte {2 * EXAMPLE_BYTES}" in report.flaws[0].reason
    assert report.good == 2


def test_shard_that_is_no_tar_is_a_flaw(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar at all")
    write_tar(tmp_path / "b.tar", [("one", example(1))])
    report = check([str(tmp_path)], Limits())
    assert [flaw.example for flaw in report.flaws] == ["archive"]
    assert report.good == 1


# What is never done


def test_files_of_other_kinds_are_left_alone(tmp_path: Path) -> None:
    # The bytes of a pickle that calls something, made without the module that reads them.
    pickled = b"cposix\nsystem\n(S'touch " + str(tmp_path / "was-run").encode() + b"'\ntR."
    files = {"pkl": pickled, "pyd": pickled, "pth": pickled, "cls": b"1", **example(1)}
    write_tar(tmp_path / "a.tar", [("one", files), ("only", {"pickle": pickled})])
    stream = ImageTextStream(open_shards([str(tmp_path)], Limits()), SETTINGS)
    assert captions_of(stream, 0, 2, 1) == [["picture 1"]] * 2
    assert check([str(tmp_path)], Limits()).flaws == []
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("url", ["pipe:touch was-run", "https://example.org/a.tar", "s3://a/b.tar"])
def test_urls_are_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no command is run"):
        open_shards([url], Limits())
    with pytest.raises(ValueError, match="no command is run"):
        DataConfig(source="webdataset", paths=(url,))
    assert not (tmp_path / "was-run").exists()


def test_links_in_a_shard_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("one.txt")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.txt")
        archive.addfile(link)
        member = tarfile.TarInfo("one.png")
        member.size = len(picture(1))
        archive.addfile(member, io.BytesIO(picture(1)))
    assert found_flaws(open_shards([str(tmp_path)], Limits())) == [
        ("one", "txt", "missing caption")
    ]


# Sources


def test_patterns_and_folders_mean_the_same_shards(tmp_path: Path) -> None:
    names = [shard.name for shard in write_shards(tmp_path, [1, 1, 1])]
    for pattern in ("{000..002}.tar", "*.tar", "00[012].tar"):
        found = open_shards([str(tmp_path / pattern)], Limits())
        assert [shard.name for shard in found] == names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.tar", "no such file"),
        ("{000..001}.tar", "001.tar: there is no such file"),
        ("*.zip", "no .tar file"),
        ("{000.tar", "braces"),
        ("a.tar.gz", "is no .tar"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, name: str, message: str) -> None:
    write_shards(tmp_path, [1])
    (tmp_path / "a.tar.gz").touch()
    with pytest.raises(InputError, match=message):
        open_shards([str(tmp_path / name)], Limits())


def test_source_named_twice_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, [1])
    with pytest.raises(InputError, match="named twice"):
        open_shards([str(tmp_path), str(tmp_path / "*.tar")], Limits())


def test_folder_source_needs_a_list(tmp_path: Path) -> None:
    write_shards(tmp_path, [1])
    with pytest.raises(InputError, match=LIST_NAME):
        open_shards([str(tmp_path)], Limits(), "folder")


# The library leaves its file to be closed by whoever collects garbage.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_keys_are_those_of_webdataset(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for key in ("a", "b/c", "b/d-1"):
            writer.write({"__key__": key, "jpg": picture(1, kind="JPEG"), "txt": f"at {key}"})
    theirs = webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False)
    (ours,) = open_shards([str(tmp_path / "a.tar")], Limits())
    assert [
        (entry.example, entry.caption) for entry in ours.entries() if isinstance(entry, Entry)
    ] == [(sample["__key__"], sample["txt"].decode()) for sample in theirs]
