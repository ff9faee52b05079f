"""What a user may ask of one image, and how a request becomes jobs."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from shared.domain.sampling import MAX_STEPS, SchedulerName

MAX_SEED = 2**32 - 1
MAX_PROMPT_CHARACTERS = 8_192
MAX_IMAGES_A_PROMPT = 10_000
MAX_SIDE_PIXELS = 4_096
SIDE_MULTIPLE = 8
MAX_METADATA_FIELDS = 64


def _no_control_characters(text: str) -> str:
    for position, character in enumerate(text):
        if unicodedata.category(character) == "Cc":
            raise ValueError(
                f"control character U+{ord(character):04X} at character {position + 1}"
            )
    return text


Prompt = Annotated[
    str, Field(max_length=MAX_PROMPT_CHARACTERS), AfterValidator(_no_control_characters)
]
Label = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_no_control_characters)]
TenantName = Annotated[
    str, Field(min_length=1, max_length=128), AfterValidator(_no_control_characters)
]
Side = Annotated[int, Field(ge=SIDE_MULTIPLE, le=MAX_SIDE_PIXELS, multiple_of=SIDE_MULTIPLE)]


class PromptRequest(BaseModel):
    """One line of a prompt file. What is left out takes the batch's default.

    Sizes are in pixels. ``n`` images of one prompt take the seeds ``seed``, ``seed + 1``, …
    Other fields are the caller's own and are kept as metadata.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    prompt: Prompt
    negative_prompt: Prompt | None = None
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)
    n: int = Field(default=1, ge=1, le=MAX_IMAGES_A_PROMPT)
    width: Side | None = None
    height: Side | None = None
    scheduler: SchedulerName | None = None
    steps: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    squeeze: str | None = Field(default=None, max_length=16)
    guidance_scale: float | None = Field(default=None, ge=0, le=50, allow_inf_nan=False)
    guidance_rescale: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    custom_id: Label | None = None

    @model_validator(mode="after")
    def _metadata_is_bounded(self) -> Self:
        if len(self.model_extra or {}) > MAX_METADATA_FIELDS:
            raise ValueError(f"has more than {MAX_METADATA_FIELDS} fields of its own")
        return self

    @property
    def metadata(self) -> dict[str, Any]:
        """Fields that are not tenstep's own."""
        return dict(self.model_extra or {})


class ImageSettings(BaseModel):
    """All that decides one image, but the model: what a job is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Prompt
    negative_prompt: Prompt = ""
    seed: int = Field(ge=0, le=MAX_SEED)
    width: Side
    height: Side
    scheduler: SchedulerName = SchedulerName.DPM_SOLVER
    steps: int = Field(ge=1, le=MAX_STEPS)
    squeeze: str | None = None
    guidance_scale: float = Field(ge=0, le=50)
    guidance_rescale: float = Field(ge=0, le=1)
