"""What a user may ask of one image, and how a request becomes jobs."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from shared.domain.quality import Quality
from shared.domain.sampling import MAX_STEPS, SchedulerName

MAX_SEED = 2**32 - 1
MAX_PROMPT_CHARACTERS = 8_192
MAX_IMAGES_A_PROMPT = 10_000
MAX_SIDE_PIXELS = 4_096
SIDE_MULTIPLE = 8
MAX_METADATA_FIELDS = 64


CONTROL_CHARACTERS = r"\x00-\x1f\x7f-\x9f"
WITHOUT_CONTROL_CHARACTERS = rf"^[^{CONTROL_CHARACTERS}]*$"
"""Pydantic checks a pattern in Rust: a function in Python would cost more than all the rest."""


def control_character_in(text: str) -> str | None:
    """Name the first control character of a text and its place, or return None."""
    found = re.search(f"[{CONTROL_CHARACTERS}]", text)
    if found is None:
        return None
    return f"control character U+{ord(found.group()):04X} at character {found.start() + 1}"


def _storable(value: Any) -> Any:
    """Refuse what a JSON column of some database would refuse later."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("holds the character U+0000")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("must be a finite number")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _storable(name)
            _storable(inner)
    elif isinstance(value, list):
        for inner in value:
            _storable(inner)
    return value


Prompt = Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS, pattern=WITHOUT_CONTROL_CHARACTERS)]
Label = Annotated[str, Field(min_length=1, max_length=256, pattern=WITHOUT_CONTROL_CHARACTERS)]
TenantName = Annotated[str, Field(min_length=1, max_length=128, pattern=WITHOUT_CONTROL_CHARACTERS)]
Side = Annotated[int, Field(ge=SIDE_MULTIPLE, le=MAX_SIDE_PIXELS, multiple_of=SIDE_MULTIPLE)]


class PromptRequest(BaseModel):
    """One line of a prompt file. What is left out takes the batch's default.

    Sizes are in pixels. ``n`` images of one prompt take the seeds ``seed``, ``seed + 1``, …
    Other fields are the caller's own and are kept as metadata.
    """

    # Of ten million lines the names of the fields repeat, and little else.
    model_config = ConfigDict(frozen=True, extra="allow", cache_strings="keys")
    __pydantic_extra__: dict[str, Annotated[Any, AfterValidator(_storable)]] = Field(init=False)

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
    quality: Quality | None = None
    custom_id: Label | None = None

    @model_validator(mode="after")
    def _metadata_is_bounded(self) -> Self:
        extra = self.__pydantic_extra__
        if len(extra) > MAX_METADATA_FIELDS:
            raise ValueError(f"has more than {MAX_METADATA_FIELDS} fields of its own")
        if extra:
            _storable("".join(extra))
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
    quality: Quality = Quality.EXACT
