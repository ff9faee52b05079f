"""WebDataset shards: .tar files in which the files of one example lie side by side.

The names are WebDataset's, cut by its own library. Its readers are not used: they read all bytes of
all examples, open URLs and unpickle what is named so. Here only headers and captions are read, and
a picture later, from its place in the shard; so passing over examples is cheap, and shuffling holds
no pictures.
"""

from __future__ import annotations

import codecs
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from webdataset.tariterators import base_plus_ext

from training.data.examples import (
    MAX_DOCUMENT_BYTES,
    Entry,
    Flaw,
    FlawError,
    Limits,
    caption_bytes,
    caption_of,
    clean_caption,
    json_object,
    refuse_large,
)

#: Of several, the first is taken. Every other file is left alone.
IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
CAPTION_SUFFIXES = ("txt", "json")
_BLOCK = 512


@dataclass(frozen=True)
class _Part:
    """A file of an example."""

    key: str
    suffix: str
    member: tarfile.TarInfo


@dataclass(frozen=True)
class TarShard:
    """One .tar file, not compressed."""

    path: Path
    limits: Limits

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def entries(self) -> Iterator[Entry | Flaw]:
        """Yield the examples in their order; a broken archive is a flaw behind those before it."""
        try:
            with tarfile.open(self.path, "r:") as archive:
                yield from self._entries(archive)
        except (tarfile.TarError, OSError) as error:
            yield self._broken(f"is no readable .tar: {error}")

    def _entries(self, archive: tarfile.TarFile) -> Iterator[Entry | Flaw]:
        seen: set[str] = set()
        damage: list[str] = []
        for key, parts in groupby(_parts(archive, damage), key=lambda part: part.key):
            found: dict[str, tarfile.TarInfo] = {}
            try:
                for part in parts:
                    if found.setdefault(part.suffix, part.member) is not part.member:
                        yield Flaw(self.name, key, part.suffix, "duplicate key")
                entry = self._entry(archive, key, found)
            except FlawError as error:
                yield error.at(self.name, key)
                continue
            if key in seen:
                yield Flaw(self.name, key, entry.field, "duplicate key")
                continue
            seen.add(key)
            yield entry
        for reason in damage:
            yield self._broken(reason)

    def _entry(
        self, archive: tarfile.TarFile, key: str, found: dict[str, tarfile.TarInfo]
    ) -> Entry:
        suffix = next((suffix for suffix in IMAGE_SUFFIXES if suffix in found), None)
        if suffix is None:
            raise FlawError(
                "image", f"missing; looked for {', '.join(IMAGE_SUFFIXES)} beside the caption"
            )
        image = found[suffix]
        refuse_large(suffix, image.size, self.limits)
        return Entry(
            source=self.name,
            example=key,
            field=suffix,
            caption=self._caption(archive, found),
            path=self.path,
            offset=image.offset_data,
            size=image.size,
        )

    def _caption(self, archive: tarfile.TarFile, found: dict[str, tarfile.TarInfo]) -> str:
        flaw = FlawError("txt", "missing caption")
        if "txt" in found:
            raw = _start(archive, found["txt"], "txt", caption_bytes(self.limits))
            try:
                text = codecs.getincrementaldecoder("utf-8-sig")().decode(raw)
                return clean_caption(text, "txt", self.limits)
            except UnicodeDecodeError:
                flaw = FlawError("txt", "is not UTF-8")
            except FlawError as error:
                flaw = error
        if "json" in found:
            raw = _start(archive, found["json"], "json", MAX_DOCUMENT_BYTES + 1)
            return caption_of(json_object(raw, "json"), self.limits)
        raise flaw

    def _broken(self, reason: str) -> Flaw:
        return Flaw(self.name, "archive", "tar", reason)


def _parts(archive: tarfile.TarFile, damage: list[str]) -> Iterator[_Part]:
    """Yield the files that examples are made of; where the archive breaks, say so in `damage`."""
    while True:
        try:
            member = archive.next()
        except (tarfile.TarError, OSError) as error:
            damage.append(f"breaks off: {error}")
            return
        # It would keep all it has seen.
        archive.members = []  # type: ignore[attr-defined]
        if member is None:
            break
        key, suffix = base_plus_ext(member.name)
        suffix = (suffix or "").lower()
        if (
            key is not None
            and member.isreg()
            and not member.issparse()
            and suffix in {*IMAGE_SUFFIXES, *CAPTION_SUFFIXES}
        ):
            yield _Part(key, suffix, member)
    # A header that cannot be read ends a tar as silently as its end mark does.
    file = archive.fileobj
    if file is not None:
        file.seek(archive.offset)
        if file.read(_BLOCK) != bytes(_BLOCK):
            damage.append(f"has no end mark at byte {archive.offset}: cut off or damaged there")


def _start(archive: tarfile.TarFile, member: tarfile.TarInfo, field: str, size: int) -> bytes:
    """Return the first bytes of a file."""
    try:
        file = archive.extractfile(member)
        return file.read(size) if file else b""
    except (tarfile.TarError, OSError) as error:
        raise FlawError(field, f"cannot be read: {error}") from None
