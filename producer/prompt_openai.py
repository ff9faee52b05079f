"""Requests for images as OpenAI's API has them: bodies, and the lines of its batches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from producer.prompt_lines import AcceptedLine, LineGroup, PromptLine, as_text
from producer.prompt_parsers import line_by_line, reject_of_object
from producer.rejects import rejected
from shared.domain.prompts import (
    MAX_SEED,
    MAX_SIDE_PIXELS,
    SIDE_MULTIPLE,
    Label,
    Prompt,
    PromptRequest,
)
from shared.domain.sampling import MAX_STEPS, SchedulerName

ENDPOINT = "/v1/images/generations"
AUTO = "auto"
MAX_IMAGES_A_REQUEST = 10
RESPONSE_FORMAT = "openai_response_format"
"""What a job remembers of how its image is to be sent; without it, as a URL."""
OWN_FIELDS = (
    *("prompt", "n", "negative_prompt", "seed", "scheduler", "steps", "squeeze"),
    *("guidance_scale", "guidance_rescale"),
)
"""What means the same in a body and in a line of a prompt file."""


class ResponseFormat(StrEnum):
    """How an image is sent."""

    URL = "url"
    """As a URL that needs no key, and expires."""
    B64_JSON = "b64_json"
    """Itself, in base64."""


def _is_size(text: str) -> str:
    if text == AUTO:
        return text
    match = re.fullmatch(r"([0-9]{1,4})x([0-9]{1,4})", text)
    if match is None:
        raise ValueError('must be "auto", or width and height such as "64x64"')
    for side in map(int, match.groups()):
        if not SIDE_MULTIPLE <= side <= MAX_SIDE_PIXELS or side % SIDE_MULTIPLE:
            raise ValueError(
                f"sides must be multiples of {SIDE_MULTIPLE}, {MAX_SIDE_PIXELS} at most"
            )
    return text


class ImageBody(BaseModel):
    """Which images are wanted. What is not said takes the model's default.

    `n` images take the seeds `seed`, `seed + 1`, … Parameters of OpenAI's that mean nothing here,
    such as `quality`, `style`, `user`, `background` and `moderation`, are ignored.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [{"prompt": "a red apple", "n": 1, "size": "64x64", "seed": 7}]
        },
    )

    prompt: Prompt
    model: Label | None = Field(default=None, description="Default: the server's.")
    n: Annotated[int, Field(ge=1, le=MAX_IMAGES_A_REQUEST)] | None = None
    size: Annotated[str, Field(max_length=9), AfterValidator(_is_size)] | None = Field(
        default=None, description='"auto", or width and height in pixels.', examples=["64x64"]
    )
    response_format: ResponseFormat | None = Field(default=None, description="Default: url.")
    negative_prompt: Prompt | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    scheduler: SchedulerName | None = None
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = None
    squeeze: Annotated[str, Field(max_length=16)] | None = Field(default=None, examples=["10,6"])
    guidance_scale: Annotated[float, Field(ge=0, le=50, allow_inf_nan=False)] | None = None
    guidance_rescale: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    stream: Literal[False] | None = Field(default=None, description="Images do not come in parts.")
    partial_images: Literal[0] | None = None

    def prompt_fields(self) -> dict[str, Any]:
        """Return what is asked for as the fields of a line of a prompt file."""
        fields: dict[str, Any] = {
            name: value for name in OWN_FIELDS if (value := getattr(self, name)) is not None
        }
        if self.size is not None and self.size != AUTO:
            fields["width"], fields["height"] = map(int, self.size.split("x"))
        if self.response_format is ResponseFormat.B64_JSON:
            fields[RESPONSE_FORMAT] = self.response_format.value
        return fields


class RequestLine(BaseModel):
    """A line of a batch's file."""

    model_config = ConfigDict(frozen=True, extra="ignore", cache_strings="keys")

    custom_id: Label
    method: Literal["POST"]
    url: Literal["/v1/images/generations"]
    body: ImageBody


_validate_json = RequestLine.__pydantic_validator__.validate_json
_validate_fields = PromptRequest.__pydantic_validator__.validate_python


def parse_openai(groups: Iterator[LineGroup], model: str | None) -> Iterator[list[PromptLine]]:
    """Read a request a line; blank lines are skipped.

    Args:
        groups: the lines.
        model: the only one that lines may name; None lets them name any.
    """
    return line_by_line(groups, lambda number, line: _parse_request(number, line, model))


def is_named(model: str, name: str) -> bool:
    """Tell whether a name means a model: of one that was pulled its revision may be left out."""
    return name == model or model.startswith(f"{name}@")


def _parse_request(number: int, line: bytes, model: str | None) -> PromptLine | None:
    try:
        asked = _validate_json(line)
    except ValidationError as error:
        text = as_text(line).strip()
        return reject_of_object(number, text, error) if text else None
    named = asked.body.model
    if named is not None and model is not None and not is_named(model, named):
        reason = f"the model of this batch is {model}, not {named}"
        return rejected(number, as_text(line), reason, "body.model")
    fields = {**asked.body.prompt_fields(), "custom_id": asked.custom_id}
    return AcceptedLine(number, _validate_fields(fields), line)
