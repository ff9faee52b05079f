"""A training run, read from one TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from shared.domain.sampling import Squeeze
from training.data.config import DataConfig
from training.section import Section

SAMPLE_PROMPTS = (
    *("a red apple", "a dog face", "a rocket, noto style", "a slice of pizza, flat twemoji style"),
    *("a tree", "a sailboat, glossy 3d style", "a grinning face, noto style", "a panda"),
)


#: Ends the name of a run's model that draws without guidance, and of the phase it learns it in.
DISTILLED = "distilled"
NO_GUIDANCE = {"guidance_scale": 1.0, "guidance_rescale": 0.0}


class TokenizerConfig(Section):
    """The byte-pair encoding."""

    #: Entries at most: 512 letters, the two marks, and merges.
    vocabulary: int = 2048
    max_tokens: int = 24
    #: Of a stream so many captions are learned from, the first.
    captions: int = Field(default=1_000_000, ge=1)
    #: A CLIP tokenizer's folder, which is taken as it is; nothing is learned then.
    folder: str = ""


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


class StageConfig(Section):
    """How long a stage is trained, and by which steps."""

    optimiser: OptimiserConfig
    steps: int
    #: Pictures that a step sees in all processes together.
    batch: int
    #: Parts that each process cuts its share into, so that less has to fit into its memory.
    accumulate: int = Field(default=1, ge=1)


class AutoencoderConfig(StageConfig):
    """The KL autoencoder and its training."""

    model: dict[str, Any]
    #: As the run's, whose it is by default.
    processes: int | None = Field(default=None, ge=1)
    kl_weight: float = 1e-3
    gradient_weight: float = 1.0
    #: So many pictures of a stream say what latents of zero mean and unit variance are; of emoji,
    #: all do.
    standardised_on: int = Field(default=4096, ge=1)


class DecoderConfig(StageConfig):
    """The decoder's training by itself, after the autoencoder's."""

    gradient_weight: float = 1.0
    #: Deviation of the noise added to latents of unit variance.
    latent_noise: float = 0.1


class TextConfig(StageConfig):
    """The text encoder's training by itself, before the denoiser's."""


class GuidanceConfig(Section):
    """How far a drawing goes beyond what its caption's prediction says."""

    #: 1 draws without guidance, and so without predictions for empty captions.
    guidance_scale: float = 4.0
    guidance_rescale: float = 0.7


class PhaseConfig(StageConfig):
    """One phase of the denoiser's training; it goes on from the phase before."""

    #: Of the phase's files.
    name: str = Field(pattern=r"^[a-z0-9-]+$")
    #: Pictures are shrunk to it before they are encoded; default: the data's.
    image_size: int | None = None
    #: Of emoji alone, as `core_weight`.
    concepts: Literal["all", "core"] = "all"
    #: How much more often than another a core concept is drawn; default: the data's.
    core_weight: float | None = None
    #: Share of the noise levels drawn from the solver's own steps: 0 draws from all timesteps
    #: alike, 1 from no others than those that the sampler takes.
    solver_share: float = Field(default=0.0, ge=0.0, le=1.0)
    loss_weighting: Literal["none", "min-snr"] = "none"
    min_snr_gamma: float = 5.0
    ema_decay: float = 0.999
    #: Not the pictures' velocity is learned, but what the phase before predicts with this guidance.
    teacher: GuidanceConfig | None = None


class DenoiserConfig(Section):
    """The text encoder, the denoiser and the phases of their training."""

    text_encoder: dict[str, Any]
    denoiser: dict[str, Any]
    caption_dropout: float = 0.1
    phases: tuple[PhaseConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError(f"phases need names of their own, not {', '.join(names)}")
        if self.phases[0].teacher is not None:
            raise ValueError(f"phase {names[0]}: no phase is before it to be its teacher")
        return self


class DistillationConfig(StageConfig):
    """Teaching a copy of the finished model to draw without guidance what it draws with it."""

    #: As of a phase.
    solver_share: float = Field(default=0.5, ge=0.0, le=1.0)
    ema_decay: float = 0.98


class SampleConfig(GuidanceConfig):
    """How the finished model draws."""

    #: None for the plain grid.
    squeeze: str | None = "10,6"
    grid_steps: int = 16
    #: Searched timesteps, falling, in place of the grid and its squeeze.
    timesteps: tuple[int, ...] | None = None

    @property
    def parsed_squeeze(self) -> Squeeze | None:
        """How the grid is shortened."""
        return None if self.squeeze is None else Squeeze.parse(self.squeeze)


class RunConfig(Section):
    """One run: everything that decides the weights."""

    name: str
    title: str
    seed: int = 0
    #: Threads for what one process does alone.
    threads: int = 2
    #: Processes of one thread each that train together on a processor; GPUs take as many as
    #: `accelerate launch` starts.
    processes: int = Field(default=1, ge=1)
    #: bfloat16 autocast; on a processor only worth it where that multiplies bfloat16 natively.
    autocast: bool = False
    checkpoint_seconds: float = 240.0
    #: How often the denoiser draws `sample_prompts` in a phase; 0 draws at its end alone.
    sample_minutes: float = 0.0
    sample_prompts: tuple[str, ...] = SAMPLE_PROMPTS
    data: DataConfig = Field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = Field(default_factory=TokenizerConfig)
    autoencoder: AutoencoderConfig
    decoder: DecoderConfig
    text: TextConfig
    denoiser: DenoiserConfig
    sample: SampleConfig = Field(default_factory=SampleConfig)
    distillation: DistillationConfig | None = None

    @property
    def latent_size(self) -> int:
        """Height and width of the latents of full-size pictures."""
        return self.data.image_size // self._latent_factor

    @property
    def _latent_factor(self) -> int:
        """How many pixels a latent is wide: all levels of the autoencoder but the last halve."""
        return 1 << (len(self.autoencoder.model["block_out_channels"]) - 1)

    def phase_size(self, phase: PhaseConfig) -> int:
        """Return height and width of the pictures that a phase trains on."""
        return phase.image_size or self.data.image_size

    def until(self, name: str) -> Self:
        """Return the run that ends with a phase of the denoiser.

        Raises:
            ValueError: no phase is called so, or it does not train on full-size pictures.
        """
        names = [phase.name for phase in self.denoiser.phases]
        if name not in names:
            raise ValueError(f"no phase is called {name!r}; there are {', '.join(names)}")
        phases = self.denoiser.phases[: names.index(name) + 1]
        return self.with_denoiser(phases=phases)

    def control(self) -> Self:
        """Return the run whose last phase draws from all noise levels alike, and else is the same.

        What fine-tuning to the solver did is told from what as much training does.
        """
        *phases, last = self.denoiser.phases
        changed = {"name": f"{last.name}-control", "solver_share": 0.0}
        control = self.with_denoiser(phases=[*phases, last.model_copy(update=changed)])
        return control.model_copy(update={"name": f"{self.name}-control"})

    def distilled(self) -> Self:
        """Return the run with one phase more, which learns to draw without guidance.

        Its model's drawings are those that the run's own model makes with its guidance, for half
        as many predictions.

        Raises:
            ValueError: the run's file does not say how that is learned.
        """
        if self.distillation is None:
            raise ValueError("the run has no section [distillation]")
        teacher = self.sample.model_dump(include=set(GuidanceConfig.model_fields))
        phases = self.denoiser.phases
        name = f"{phases[-1].name}-{DISTILLED}"
        phase = {**self.distillation.model_dump(), "name": name, "teacher": teacher}
        run = self.with_denoiser(phases=[*phases, phase])
        changed = {
            "name": f"{self.name}-{DISTILLED}",
            "title": f"{self.title}, {DISTILLED}",
            "sample": self.sample.model_copy(update=NO_GUIDANCE),
        }
        return run.model_copy(update=changed)

    def with_denoiser(self, **settings: Any) -> Self:
        """Return the run with other settings of the denoiser, checked as a file's are."""
        document = self.model_dump()
        document["denoiser"] |= settings
        return type(self).model_validate(document)

    @model_validator(mode="after")
    def _phases_fit_source(self) -> Self:
        if self.data.source != "emoji":
            for phase in self.denoiser.phases:
                if phase.concepts != "all" or phase.core_weight is not None:
                    raise ValueError(
                        f"phase {phase.name}: concepts and core_weight are for emoji;"
                        f" a {self.data.source} source has no core concepts"
                    )
        return self

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        halvings = sum(self.denoiser.denoiser.get("add_downsample", ()))
        unit = self._latent_factor << halvings
        for phase in self.denoiser.phases:
            size = self.phase_size(phase)
            if size % unit or size > self.data.image_size:
                raise ValueError(
                    f"phase {phase.name}: image_size {size} is no multiple of {unit}"
                    f" up to {self.data.image_size}"
                )
        if self.phase_size(self.denoiser.phases[-1]) != self.data.image_size:
            raise ValueError("the last phase has to train on full-size pictures")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Parse a TOML file."""
        return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
