"""How a picture is sampled: steps, squeeze, guidance."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

MAX_STEPS = 1000


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
