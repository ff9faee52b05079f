"""Shards and folders of small pictures, and what streams of them give."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

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
