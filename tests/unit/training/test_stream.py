"""Streams of pictures with captions."""

from __future__ import annotations

import io
import json
import logging
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
import torch
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.errors import ConfigurationError, InputError
from training.data.check import check
from training.data.config import DataConfig
from training.data.examples import Entry, Flaw, Limits, Shard
from training.data.listing import LIST_NAME
from training.data.sources import open_shards
from training.data.stream import ImageTextStream, StreamSettings

SETTINGS = StreamSettings(image_size=8, seed=3, shuffle_buffer=4, bad_share=0.5)


def picture(shade: int, size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade % 256, shade // 256 % 256, 7)).save(buffer, kind)
    return buffer.getvalue()


def example(number: int) -> dict[str, bytes]:
    return {"png": picture(number), "txt": f"picture {number}".encode()}


def write_tar(path: Path, examples: Sequence[tuple[str, Mapping[str, bytes]]]) -> None:
    with tarfile.open(path, "w") as archive:
        for key, files in examples:
            for suffix, content in files.items():
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def write_shards(folder: Path, sizes: Sequence[int]) -> list[Shard]:
    """Write good examples "picture 0", "picture 1" and so on into one shard after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for shard, size in enumerate(sizes):
        examples = [(f"{number + place:04}", example(number + place)) for place in range(size)]
        write_tar(folder / f"{shard:03}.tar", examples)
        number += size
    return open_shards([str(folder)], Limits())


def write_list(folder: Path, lines: Sequence[Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    (folder / LIST_NAME).write_text(text, "utf-8")


def taken(stream: ImageTextStream, start: int, steps: int, batch: int) -> list[Any]:
    return list(islice(stream.batches(start, batch), steps))


def captions_of(stream: ImageTextStream, start: int, steps: int, batch: int) -> list[list[str]]:
    return [captions for _, captions in taken(stream, start, steps, batch)]


def flat(batches: Sequence[Sequence[str]]) -> list[str]:
    return list(chain.from_iterable(batches))


def found_flaws(shards: Sequence[Shard]) -> list[tuple[str, str, str]]:
    return [
        (found.example, found.field, found.reason)
        for shard in shards
        for found in shard.entries()
        if isinstance(found, Flaw)
    ]


def noted_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the examples whose pictures are read from now on, as they are."""
    read: list[str] = []
    real = Entry.read

    def noted(entry: Entry, limits: Limits) -> bytes:
        read.append(entry.example)
        return real(entry, limits)

    monkeypatch.setattr(Entry, "read", noted)
    return read


# What a batch is


def test_batch_is_pictures_of_one_size_and_their_captions(tmp_path: Path) -> None:
    files = {"jpg": picture(255, (40, 20), "JPEG"), "json": b'{"caption": " a  red\\napple "}'}
    write_tar(tmp_path / "a.tar", [("one", files)])
    stream = ImageTextStream(open_shards([str(tmp_path / "a.tar")], Limits()), SETTINGS)
    pixels, captions = next(stream.batches(0, 2))
    assert pixels.shape == (2, 8, 8, 3)
    assert pixels.dtype == torch.uint8
    assert pixels[..., 0].min() > 240
    assert pixels[..., 1].max() < 15
    assert captions == ["a red apple"] * 2


def test_long_side_is_cut_in_the_middle_and_transparency_is_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (24, 8))
    image.paste((255, 0, 0, 255), (8, 0, 12, 8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    write_tar(tmp_path / "a.tar", [("one", {"png": buffer.getvalue(), "txt": b"half red"})])
    stream = ImageTextStream(open_shards([str(tmp_path / "a.tar")], Limits()), SETTINGS)
    pixels, _ = next(stream.batches(0, 1))
    assert pixels[0, 4, 0].tolist() == [255, 0, 0]
    assert pixels[0, 4, 7].tolist() == [255, 255, 255]


def test_random_cuts_follow_from_the_seed_and_change_by_epoch(tmp_path: Path) -> None:
    image = Image.linear_gradient("L").rotate(90).resize((64, 8)).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    write_tar(tmp_path / "a.tar", [("one", {"png": buffer.getvalue(), "txt": b"a slope"})])
    shards = open_shards([str(tmp_path / "a.tar")], Limits())
    cut = StreamSettings(image_size=8, random_crop=True, random_flip=True)
    first, again = (taken(ImageTextStream(shards, cut), 0, 6, 1) for _ in range(2))
    assert all(torch.equal(one, other) for (one, _), (other, _) in zip(first, again, strict=True))
    assert len({pixels[0, 0, 0, 0].item() for pixels, _ in first}) > 3


# Order, resumption, ranks


@pytest.mark.parametrize("start", [0, 1, 2, 5, 11])
def test_from_any_step_on_batches_are_those_of_an_unbroken_run(tmp_path: Path, start: int) -> None:
    shards = write_shards(tmp_path, [3, 1, 5, 2])
    whole = taken(ImageTextStream(shards, SETTINGS), 0, 16, 4)
    rest = taken(ImageTextStream(shards, SETTINGS), start, 16 - start, 4)
    for (pixels, captions), (expected, texts) in zip(rest, whole[start:], strict=True):
        assert captions == texts
        assert torch.equal(pixels, expected)


def test_broken_pictures_passed_over_do_not_move_later_batches(tmp_path: Path) -> None:
    examples = [(f"{number}", example(number)) for number in range(9)]
    for number in (2, 5):
        examples[number][1]["png"] = examples[number][1]["png"][:40]
    write_tar(tmp_path / "a.tar", examples)
    shards = open_shards([str(tmp_path)], Limits())
    whole = captions_of(ImageTextStream(shards, SETTINGS), 0, 12, 3)
    assert captions_of(ImageTextStream(shards, SETTINGS), 7, 5, 3) == whole[7:]
    assert all(len(captions) == 3 for captions in whole)


def test_passing_over_examples_decodes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = write_shards(tmp_path, [6, 6])
    read = noted_reads(monkeypatch)
    next(ImageTextStream(shards, SETTINGS).batches(100, 2))
    assert len(read) <= 3 * 2


def test_order_depends_on_seed_and_epoch(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, [8, 8])

    def order(seed: int, epoch: int) -> list[str]:
        stream = ImageTextStream(shards, StreamSettings(image_size=8, seed=seed))
        return [caption for _, caption in stream.epoch(epoch)]

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_parts_are_cut_out_of_the_batches_that_one_alone_would_see(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, [3, 4, 1])
    alone = captions_of(ImageTextStream(shards, SETTINGS), 0, 6, 5)
    parts = [slice(first, None, 3) for first in (0, 2)]
    found = islice(ImageTextStream(shards, SETTINGS).batches(0, 5, parts), 12)
    assert [captions for _, captions in found] == [
        captions[part] for captions in alone for part in parts
    ]


def test_what_is_in_no_part_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = write_shards(tmp_path, [6, 6])
    read = noted_reads(monkeypatch)
    batches = ImageTextStream(shards, SETTINGS).batches(0, 12, [slice(1, None, 4)])
    next(batches)
    batches.close()
    assert len(read) == 3 * 3


def test_batch_smaller_than_its_parts_is_refused(tmp_path: Path) -> None:
    stream = ImageTextStream(write_shards(tmp_path, [4]), SETTINGS)
    with pytest.raises(ConfigurationError, match="a batch of 3 is too small"):
        next(stream.batches(0, 3, [slice(3, None, 4)]))


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 7), min_size=1, max_size=4).filter(any),
    buffer=st.integers(1, 9),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 3),
    data=st.data(),
)
def test_every_good_example_is_seen_once_an_epoch(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    buffer: int,
    seed: int,
    epoch: int,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    total = sum(sizes)
    broken = data.draw(st.sets(st.integers(0, total - 1)))
    write_shards(folder, sizes)
    for path in folder.glob("*.tar"):
        _break(path, broken)
    shards = open_shards([str(folder)], Limits())
    chosen = StreamSettings(image_size=8, seed=seed, shuffle_buffer=buffer, bad_share=0.99)
    stream = ImageTextStream(shards, chosen)
    assert Counter(caption for _, caption in stream.epoch(epoch)) == {
        f"picture {number}": 1 for number in set(range(total)) - broken
    }


def _break(path: Path, broken: set[int]) -> None:
    """Cut the pictures of some examples short."""
    with tarfile.open(path) as archive:
        files: dict[str, dict[str, bytes]] = {}
        for member in archive:
            key, suffix = member.name.split(".")
            content = archive.extractfile(member)
            assert content is not None
            cut = 40 if suffix == "png" and int(key) in broken else -1
            files.setdefault(key, {})[suffix] = content.read(cut)
    write_tar(path, list(files.items()))


def test_batches_of_an_epoch_hold_every_good_example(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, [5, 3, 4])
    captions = flat(captions_of(ImageTextStream(shards, SETTINGS), 0, 6, 4))
    expected = Counter({f"picture {number}": 1 for number in range(12)})
    assert Counter(captions[:12]) == Counter(captions[12:]) == expected


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
