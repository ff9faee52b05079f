"""From paths and patterns to shards."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Literal

# Out of the library that brings it: patterns are to mean what they mean there.
from webdataset.shardlists import braceexpand

from shared.errors import InputError
from training.data.config import DataConfig, refuse_url
from training.data.examples import CHECK, Entry, Limits, Shard
from training.data.listing import LIST_NAME, open_listing
from training.data.shards import TarShard

_MOST_SHARDS = 1_000_000

Kind = Literal["webdataset", "folder"]


def limits_of(config: DataConfig) -> Limits:
    """Return the limits that a configuration sets."""
    return Limits(config.max_image_pixels, config.max_image_bytes, config.max_caption_characters)


def open_source(config: DataConfig) -> list[Shard]:
    """Return the shards of a configuration, of a source other than "emoji".

    Raises:
        InputError: they are not there.
    """
    kind: Kind = "folder" if config.source == "folder" else "webdataset"
    return open_shards(config.paths, limits_of(config), kind)


def first_captions(shards: Sequence[Shard], count: int) -> Iterator[str]:
    """Return the captions of so many well-formed examples at most; no picture is read.

    Raises:
        InputError: there is none.
    """
    entries = chain.from_iterable(shard.entries() for shard in shards)
    captions = islice((found.caption for found in entries if isinstance(found, Entry)), count)
    for first in captions:
        return chain([first], captions)
    raise InputError("the data have no good example", hint=CHECK)


def open_shards(paths: Sequence[str], limits: Limits, kind: Kind | None = None) -> list[Shard]:
    """Return the shards of sources in the order given; those of one pattern, by name.

    Args:
        paths: .tar files, patterns of them ("{000..009}", "*") or folders; a folder with a
            `metadata.jsonl` is one of pictures, another one of .tar files.
        limits: what an example may not exceed.
        kind: what all of them must be; None is whatever they are.

    Raises:
        InputError: there is no such file, or a path is a URL.
    """
    shards: list[Shard] = []
    for path in paths:
        try:
            refuse_url(path)
        except ValueError as error:
            raise InputError(str(error), hint="copy the data here, and name the copy") from None
        listed = Path(path).is_dir() and (Path(path) / LIST_NAME).is_file()
        if kind == "folder" and not listed:
            raise InputError(
                f"{path}: is no folder with a {LIST_NAME}",
                hint='a line of it is {"file_name": "0001.png", "text": "a red apple"}',
            )
        if listed and kind != "webdataset":
            shards += open_listing(Path(path), limits)
        else:
            shards += [TarShard(file, limits) for file in _tar_files(path)]
    names = [shard.name for shard in shards]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{twice}: named twice")
    return shards


def _tar_files(path: str) -> list[Path]:
    files = list(islice(_expanded(path), _MOST_SHARDS + 1))
    if not files:
        raise InputError(
            f"{path}: no .tar file and no {LIST_NAME} there",
            hint="give .tar files, a pattern of them in quotes, or a folder",
        )
    if len(files) > _MOST_SHARDS:
        raise InputError(f"{path}: more than {_MOST_SHARDS} shards")
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: there is no such file")
        if file.suffix.lower() != ".tar":
            raise InputError(
                f"{file}: is no .tar", hint="unpack what is compressed: shards are read in places"
            )
    return files


def _expanded(path: str) -> Iterator[Path]:
    """Yield the files that a path means; one that is there means itself."""
    if Path(path).is_dir():
        yield from sorted(Path(path).glob("*.tar"))
        return
    if Path(path).exists():
        yield Path(path)
        return
    try:
        for one in braceexpand.braceexpand(path):
            if glob.has_magic(one):
                yield from (Path(found) for found in sorted(glob.glob(one)))  # noqa: PTH207 - takes absolute patterns too
            else:
                yield Path(one)
    except braceexpand.UnbalancedBracesError:
        raise InputError(f"{path}: its braces do not match") from None
