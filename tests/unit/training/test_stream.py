"""What a stream of examples deals out, in which order."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.errors import ConfigurationError
from support.streams import (
    SETTINGS,
    captions_of,
    example,
    flat,
    noted_reads,
    picture,
    taken,
    write_shards,
    write_tar,
)
from training.data.examples import Limits
from training.data.sources import open_shards
from training.data.stream import ImageTextStream, StreamSettings

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
