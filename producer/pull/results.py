"""What a pull was asked for, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from producer.pull.fetch import PARALLEL, PullProblem
from producer.pull_format import ManifestKind

SHARD_IMAGES = 10_000


@dataclass(frozen=True, slots=True)
class PullOptions:
    """How to pull."""

    parallel: int = PARALLEL
    """Images that are fetched at once."""
    manifest: ManifestKind = ManifestKind.JSONL
    manifest_only: bool = False
    """Fetch no image; the manifest tells of those that are there."""
    shard_images: int = SHARD_IMAGES
    """Images a shard, at most."""


@dataclass(frozen=True, slots=True)
class PulledImage:
    """One image that is in the folder."""

    path: Path
    prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What is at the destination now."""

    to: str
    """The destination, without secrets."""
    images: int
    """How many images of the batch are there."""
    written: int
    """How many of them were not there before."""
    bytes_written: int
    problems: Sequence[PullProblem]
    """The first 1,000 images that could not be had."""
    not_fetched: int
    """How many could not be had."""
    manifests: Sequence[str]
    """What the manifests are called there."""
    cut: int
    """How many images come from a prompt that was too long for the model."""
    shards: int | None = None
    """How many shards there are, if there are any."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "to": self.to,
            "images": self.images,
            "written": self.written,
            "bytes_written": self.bytes_written,
            "shards": self.shards,
            "manifests": list(self.manifests),
            "not_fetched": self.not_fetched,
            "problems": [asdict(problem) for problem in self.problems],
            "cut": self.cut,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledFolder(Pulled):
    """What is in a folder now."""

    folder: Path
    manifest: Path
    """Where ``manifest.jsonl`` is, if it was asked for."""
    first: Sequence[PulledImage]
    """The first of the images, at most 200, in order."""
