"""Which image of a batch is in which shard of a destination.

Beside every ``shard-000007.tar`` is ``index/000007.json``, with the positions in it. The
index is written first: a shard that is there has its index, and an index without its shard,
left by a pull that was killed between the two, counts for nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from producer.pull.owner import INDEX
from producer.pull.positions import PositionMap
from shared.errors import InputError
from shared.storage.base import ObjectNotFoundError, ObjectStore

SHARD = re.compile(r"shard-(\d{6,})\.tar")


def shard_name(number: int) -> str:
    """Name a shard: ``shard-000007.tar``."""
    return f"shard-{number:06d}.tar"


class ShardIndex:
    """What the shards of a destination hold."""

    def __init__(self, destination: ObjectStore) -> None:
        """Read it.

        Raises:
            InputError: a shard has no index, or that of another shard.
            ServiceUnavailableError: the destination cannot be read.
        """
        self.images = 0
        self._destination = destination
        self._shards: dict[int, int] = {}
        self._shard_of = PositionMap()
        for found in destination.list("shard-"):
            if match := SHARD.fullmatch(found.key):
                number = int(match[1])
                self._note(number, self._read(number, found.bytes))

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return len(self._shards)

    @property
    def next_number(self) -> int:
        """The number of the shard that comes next."""
        return max(self._shards, default=-1) + 1

    def shard_of(self, position: int) -> int | None:
        """Tell which shard holds an image; None if none does."""
        return self._shard_of.get(position)

    def announce(self, number: int, size: int, positions: Sequence[int]) -> None:
        """Write the index of a shard that is about to appear.

        Raises:
            ServiceUnavailableError: it was not written.
        """
        document = {"shard": shard_name(number), "bytes": size, "positions": list(positions)}
        data = json.dumps(document).encode()
        self._destination.put(_index_key(number), data, "application/json")

    def add(self, number: int, positions: Sequence[int]) -> None:
        """Note a shard that has appeared."""
        self._note(number, positions)

    def _note(self, number: int, positions: Sequence[int]) -> None:
        self._shards[number] = len(positions)
        self.images += len(positions)
        for position in positions:
            self._shard_of[position] = number

    def _read(self, number: int, size: int) -> Sequence[int]:
        key, shard = _index_key(number), shard_name(number)
        try:
            document: dict[str, Any] = json.loads(self._destination.get(key))
            positions: Sequence[int] = document["positions"]
            is_its_own = document["bytes"] == size
        except (ObjectNotFoundError, ValueError, KeyError, TypeError):
            is_its_own = False
        if not is_its_own:
            raise InputError(
                f"{self._destination.display_url}: {key} does not tell what is in {shard}",
                hint="Pull to a place that is empty, or remove the shard.",
            )
        return positions


def _index_key(number: int) -> str:
    return f"{INDEX}{number:06d}.json"
