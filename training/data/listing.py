"""A folder of pictures with a list of captions, `metadata.jsonl`, as Hugging Face's imagefolder."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from training.data.examples import (
    MAX_DOCUMENT_BYTES,
    Entry,
    Flaw,
    FlawError,
    Limits,
    caption_of,
    json_object,
)

LIST_NAME = "metadata.jsonl"
_LINES_A_SHARD = 1024


@dataclass(frozen=True)
class Line:
    """One line of a list: its number from 1 on, where it starts in bytes, and what it says."""

    number: int
    offset: int
    #: Cut behind the longest that is read.
    raw: bytes


@dataclass(frozen=True)
class Listing:
    """A folder's list; the lines that name a picture again are known from the start."""

    folder: Path
    limits: Limits
    repeated: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """Path of the list."""
        return str(self.folder / LIST_NAME)

    def lines(self, start: int = 0, number: int = 1) -> Iterator[Line]:
        """Yield the lines from byte `start`, the line of that number, on."""
        with (self.folder / LIST_NAME).open("rb") as file:
            offset = file.seek(start)
            while raw := file.readline(MAX_DOCUMENT_BYTES + 1):
                yield Line(number, offset, raw)
                if not raw.endswith(b"\n"):
                    _pass_line(file)
                offset, number = file.tell(), number + 1

    def entry(self, line: Line) -> Entry | Flaw:
        """Return the example of a line, its picture not looked for."""
        example = f"line {line.number}"
        try:
            document = json_object(line.raw, "line")
            entry = Entry(
                source=self.name,
                example=example,
                field="file_name",
                caption=caption_of(document, self.limits),
                path=self.folder / _inside(document.get("file_name")),
                root=self.folder,
            )
        except FlawError as error:
            return error.at(self.name, example)
        if line.number in self.repeated:
            return Flaw(self.name, example, "file_name", "duplicate key")
        return entry


@dataclass(frozen=True)
class ListedShard:
    """Some lines of a list."""

    listing: Listing
    start: int
    first: int

    @property
    def name(self) -> str:
        """The list and the first of the lines."""
        return f"{self.listing.name}:{self.first}"

    def entries(self) -> Iterator[Entry | Flaw]:
        """Yield the examples in their order."""
        for line in self.listing.lines(self.start, self.first):
            if line.number == self.first + _LINES_A_SHARD:
                return
            if line.raw.strip():
                yield self.listing.entry(line)


def open_listing(folder: Path, limits: Limits) -> list[ListedShard]:
    """Read a folder's list once, and cut it into shards.

    Memory: 16 bytes a line while it is read, 8 bytes a shard afterwards.
    """
    listing = Listing(folder.resolve(), limits)
    starts: list[tuple[int, int]] = []
    names, numbers = array("Q"), array("Q")
    for line in listing.lines():
        if (line.number - 1) % _LINES_A_SHARD == 0:
            starts.append((line.offset, line.number))
        entry = listing.entry(line) if line.raw.strip() else None
        if isinstance(entry, Entry):
            digest = hashlib.blake2b(bytes(entry.path), digest_size=8).digest()
            names.append(int.from_bytes(digest))
            numbers.append(line.number)
    whole = Listing(listing.folder, limits, _repeated(names, numbers))
    return [ListedShard(whole, start, first) for start, first in starts]


def _repeated(names: array[int], numbers: array[int]) -> frozenset[int]:
    """Return the numbers of the lines whose name an earlier line has."""
    if not names:
        return frozenset()
    values = np.frombuffer(names, np.uint64)
    order = np.argsort(values, kind="stable")
    again = order[1:][values[order[1:]] == values[order[:-1]]]
    return frozenset(np.frombuffer(numbers, np.uint64)[again].tolist())


def _inside(name: object) -> PurePosixPath:
    """Return a path that by its text stays in the folder."""
    if not isinstance(name, str) or not name:
        raise FlawError("file_name", "missing")
    path = PurePosixPath(name)
    try:
        bytes(path)
    except UnicodeEncodeError:
        raise FlawError("file_name", "is not Unicode") from None
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise FlawError("file_name", "leaves the folder")
    return path


def _pass_line(file: BinaryIO) -> None:
    while (rest := file.readline(MAX_DOCUMENT_BYTES)) and not rest.endswith(b"\n"):
        pass
