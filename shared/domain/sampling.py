"""How a picture is sampled: steps, squeeze, guidance."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, NamedTuple, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

MAX_STEPS = 1000
NO_SQUEEZE = "none"
"""How a user says that he wants the plain grid."""


class SchedulerName(StrEnum):
    """The solvers, by the name that a job asks for."""

    DPM_SOLVER = "dpmsolver++"
    """DPM-Solver++ (2M), Lu et al. 2022, arXiv 2211.01095; with a squeeze, SqueezedDPM++."""
    DDIM = "ddim"
    """Song et al. 2021, arXiv 2010.02502."""
    EULER = "euler"
    """Karras et al. 2022, arXiv 2206.00364, algorithm 2 without churn."""
    UNIPC = "unipc"
    """Zhao et al. 2023, arXiv 2302.04867."""
    SEARCHED = "searched"
    """DPM-Solver++ along timesteps that were searched for the model and so many steps."""


class Squeeze(NamedTuple):
    """SqueezedDPM++ "n,i": keep the first i timesteps of a grid, end after n in all."""

    steps: int
    kept: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "10,6".

        Raises:
            ValueError: not two whole numbers n,i with n > i > 0.
        """
        match = re.fullmatch(r"\s*(\d{1,4})\s*,\s*(\d{1,4})\s*", text)
        if match is None:
            raise ValueError(f"squeeze is two whole numbers such as 10,6, not {text!r}")
        steps, kept = int(match[1]), int(match[2])
        if not 0 < kept < steps <= MAX_STEPS:
            raise ValueError(f"squeeze n,i needs n > i > 0, not {text!r}")
        return cls(steps, kept)

    def __str__(self) -> str:
        return f"{self.steps},{self.kept}"


class SamplerSettings(BaseModel):
    """What a job asks of the sampler.

    ``steps`` counts the steps of the base grid; a squeeze "n,i" shortens that grid to n.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheduler: SchedulerName = SchedulerName.DPM_SOLVER
    steps: int = Field(ge=1, le=MAX_STEPS)
    squeeze: Annotated[str, StringConstraints(max_length=16)] | None = None
    guidance_scale: float = Field(ge=0, le=50, allow_inf_nan=False)
    guidance_rescale: float = Field(ge=0, le=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _squeeze_fits(self) -> Self:
        if self.squeeze is not None:
            _, kept = Squeeze.parse(self.squeeze)
            if kept > self.steps:
                raise ValueError(f"squeeze {self.squeeze} keeps {kept} of only {self.steps} steps")
            if self.scheduler is not SchedulerName.DPM_SOLVER:
                raise ValueError(f"a squeeze is for dpmsolver++, not for {self.scheduler}")
        return self

    @property
    def evaluations(self) -> int:
        """How often the denoiser runs for one image."""
        return Squeeze.parse(self.squeeze).steps if self.squeeze else self.steps


def one_step(sampler: SamplerSettings) -> SamplerSettings:
    """Return settings for a single step, guided as images are: of one no grid was searched."""
    own = sampler.scheduler
    scheduler = SchedulerName.DPM_SOLVER if own is SchedulerName.SEARCHED else own
    return sampler.model_copy(update={"scheduler": scheduler, "steps": 1, "squeeze": None})


class SamplerChoice(Protocol):
    """What a batch, a line or a command line may say of the sampler; None says nothing."""

    @property
    def scheduler(self) -> SchedulerName | None:
        """Which solver."""
        ...

    @property
    def steps(self) -> int | None:
        """Steps of the base grid."""
        ...

    @property
    def squeeze(self) -> str | None:
        """A squeeze n,i, or "none" for the plain grid."""
        ...

    @property
    def guidance_scale(self) -> float | None:
        """1 is none."""
        ...

    @property
    def guidance_rescale(self) -> float | None:
        """Share of the rescaled prediction, 0 to 1."""
        ...


def settle_sampler(model: SamplerSettings, choices: Sequence[SamplerChoice]) -> SamplerSettings:
    """Lay later choices over earlier ones, and all of them over the model's own settings.

    A squeeze belongs to the grid that it was named with: steps, or another scheduler, that
    come without one mean the plain grid.

    Raises:
        ValueError: the outcome does not fit together.
    """
    scheduler, steps, squeeze = model.scheduler, model.steps, model.squeeze
    scale, rescale = model.guidance_scale, model.guidance_rescale
    for choice in choices:
        is_another = choice.scheduler not in {None, scheduler}
        if is_another or choice.steps is not None or choice.squeeze is not None:
            squeeze = _parsed(choice.squeeze)
        scheduler = choice.scheduler or scheduler
        steps = steps if choice.steps is None else choice.steps
        scale = scale if choice.guidance_scale is None else choice.guidance_scale
        rescale = rescale if choice.guidance_rescale is None else choice.guidance_rescale
    return SamplerSettings(
        scheduler=scheduler,
        steps=steps,
        squeeze=squeeze,
        guidance_scale=scale,
        guidance_rescale=rescale,
    )


def _parsed(squeeze: str | None) -> str | None:
    """Write a squeeze in the one way that lets equal ones share a chunk."""
    return None if squeeze is None or squeeze == NO_SQUEEZE else str(Squeeze.parse(squeeze))
