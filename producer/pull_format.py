"""How pulled images and their manifests are written."""

from __future__ import annotations

from enum import StrEnum


class PullFormat(StrEnum):
    """How images are laid out."""

    FOLDER = "folder"
    """A file an image."""
    WEBDATASET = "webdataset"
    """Tar shards, each with many images, their prompts and their lines of the manifest."""


class ManifestKind(StrEnum):
    """Which manifests are written."""

    JSONL = "jsonl"
    PARQUET = "parquet"
    BOTH = "both"
    NONE = "none"
