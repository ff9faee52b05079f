"""The part of a run's file that says which images and captions it is trained on."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from training.section import Section

#: "pipe:", "https:": two letters at least, for one is a drive.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")

#: Settings of [data] that streams need, and what for.
_OF_STREAMS = {
    "paths": "its .tar files or folders",
    "licence": "the one that the model's weights are given",
    "notice": "a text file that says whose works the pictures and captions are",
}
_OF_EMOJI = (
    *("concepts", "held_out_concepts_per_mille", "held_out_pairs_per_mille"),
    "core_weight",
)


class DataConfig(Section):
    """Which images and captions."""

    #: emoji: made from packages; webdataset: .tar shards; folder: with a metadata.jsonl.
    source: Literal["emoji", "webdataset", "folder"] = "emoji"
    #: Shards, patterns such as "data/{000..099}.tar" or "data/*.tar", or folders; as seen from
    #: where the training is started. Never URLs.
    paths: tuple[str, ...] = ()
    image_size: int = Field(default=64, ge=1)
    #: So many examples of a stream are shuffled at a time; a streamed picture is cut at a random
    #: place along its longer side, and mirrored half of the time.
    shuffle_buffer: int = Field(default=8192, ge=1)
    random_crop: bool = False
    random_flip: bool = False
    #: More bad examples than this share end the training.
    bad_share: float = Field(default=0.05, ge=0.0, lt=1.0)
    #: Pictures of a stream with more pixels or bytes are bad examples, longer captions are cut.
    max_image_pixels: int = Field(default=64 * 1024**2, ge=1, le=89_478_485)
    max_image_bytes: int = Field(default=64 * 1024**2, ge=1)
    max_caption_characters: int = Field(default=2000, ge=1)
    #: Threads that decode a stream's pictures ahead of the training.
    decoders: int = Field(default=2, ge=1)
    #: Of streams: the licence that the model's weights are given, and a text file of whose works
    #: the pictures and captions are, which goes into the model's NOTICE.
    licence: str = ""
    notice: str = ""
    # The rest is of emoji alone.
    concepts: str = "concepts.toml"
    #: Per mille of the concepts outside the core that are kept out of training in every style.
    held_out_concepts_per_mille: int = 30
    #: Per mille of the other (concept, style) pairs outside the core that are kept out.
    held_out_pairs_per_mille: int = 60
    #: How much more often than another a core concept is drawn.
    core_weight: float = 3.0

    @field_validator("paths")
    @classmethod
    def _are_local(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            refuse_url(path)
        return paths

    @model_validator(mode="after")
    def _settings_fit_source(self) -> Self:
        if self.source == "emoji":
            if any(getattr(self, name) for name in _OF_STREAMS):
                names = ", ".join(_OF_STREAMS)
                raise ValueError(f'{names} are for source = "webdataset" or "folder"')
            return self
        for name, purpose in _OF_STREAMS.items():
            if not getattr(self, name):
                raise ValueError(f'source = "{self.source}" needs {name}: {purpose}')
        for name in _OF_EMOJI:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f'{name} is for source = "emoji"')
        return self


def refuse_url(path: str) -> None:
    """Raise ValueError if a path is a URL: data are local, and "pipe:" would run a command."""
    if _SCHEME.match(path):
        raise ValueError(f"{path!r} is a URL; only local files are read, and no command is run")
