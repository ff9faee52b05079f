"""A training run, read from one TOML file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Section(BaseModel):
    """A part of a run's file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


#: "pipe:", "https:": two letters at least, for one is a drive.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


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
    def _paths_fit_source(self) -> Self:
        if self.source == "emoji" and self.paths:
            raise ValueError('paths are for source = "webdataset" or "folder"')
        if self.source != "emoji" and not self.paths:
            raise ValueError(f'source = "{self.source}" needs paths')
        return self


def refuse_url(path: str) -> None:
    """Raise ValueError if a path is a URL: data are local, and "pipe:" would run a command."""
    if _SCHEME.match(path):
        raise ValueError(f"{path!r} is a URL; only local files are read, and no command is run")


class TokenizerConfig(Section):
    """The byte-pair encoding."""

    vocabulary: int = 2048
    max_tokens: int = 24


class OptimiserConfig(Section):
    """AdamW with a linear warm-up, a constant stretch and a linear decay."""

    learning_rate: float
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_steps: int = 200
    clip_norm: float = 1.0
    #: The last part of the run, in which the rate falls, and what is left of it at the end.
    decay_share: float = 0.3
    final_ratio: float = 0.02


class AutoencoderConfig(Section):
    """The KL autoencoder and its training."""

    model: dict[str, Any]
    optimiser: OptimiserConfig
    steps: int
    batch: int
    kl_weight: float = 1e-3
    gradient_weight: float = 1.0


class DecoderConfig(Section):
    """The decoder's training by itself, after the autoencoder's."""

    optimiser: OptimiserConfig
    steps: int
    batch: int
    gradient_weight: float = 1.0
    #: Deviation of the noise added to latents of unit variance.
    latent_noise: float = 0.1


class TextConfig(Section):
    """The text encoder's training by itself, before the denoiser's."""

    optimiser: OptimiserConfig
    steps: int
    batch: int


class DenoiserConfig(Section):
    """The text encoder, the denoiser and their training."""

    text_encoder: dict[str, Any]
    denoiser: dict[str, Any]
    optimiser: OptimiserConfig
    steps: int
    batch: int
    caption_dropout: float = 0.1
    ema_decay: float = 0.999
    #: The last part of the run, and the share of its noise levels drawn at the solver's own steps.
    solver_tail: float = 0.15
    solver_share: float = 0.7


class SampleConfig(Section):
    """How the finished model draws."""

    guidance_scale: float = 4.0
    guidance_rescale: float = 0.7
    squeeze: str = "10,6"
    grid_steps: int = 16


class RunConfig(Section):
    """One run: everything that decides the weights."""

    name: str
    title: str
    seed: int = 0
    #: Threads of the autoencoder's training.
    threads: int = 2
    #: Processes of one thread each that share the training of everything else.
    processes: int = 1
    #: bfloat16 autocast; worth it only where the processor multiplies bfloat16 natively.
    autocast: bool = False
    checkpoint_seconds: float = 240.0
    data: DataConfig = Field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = Field(default_factory=TokenizerConfig)
    autoencoder: AutoencoderConfig
    decoder: DecoderConfig
    text: TextConfig
    denoiser: DenoiserConfig
    sample: SampleConfig = Field(default_factory=SampleConfig)

    @property
    def latent_size(self) -> int:
        """Height and width of the latents: every level of the autoencoder but the last halves."""
        levels = len(self.autoencoder.model["block_out_channels"])
        return self.data.image_size >> (levels - 1)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Parse a TOML file."""
        return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
