"""From a prompt line to the settings of its images: model card, then batch, then line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shared.domain.prompts import (
    MAX_IMAGES_A_PROMPT,
    MAX_SEED,
    ImageSettings,
    Prompt,
    PromptRequest,
    Side,
)
from shared.domain.sampling import MAX_STEPS, SchedulerName, settle_sampler
from shared.models.card import ModelCard

SEEDS = MAX_SEED + 1


class BatchDefaults(BaseModel):
    """What the lines of a batch take where they say nothing; None leaves it to the model.

    Sizes are in pixels. ``seed`` is the first job's; each job after it takes the next.
    ``squeeze`` is "n,i", or "none" for the plain grid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    negative_prompt: Prompt = ""
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    n: int = Field(default=1, ge=1, le=MAX_IMAGES_A_PROMPT)
    width: Side | None = None
    height: Side | None = None
    scheduler: SchedulerName | None = None
    steps: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    squeeze: Annotated[str, Field(max_length=16)] | None = None
    guidance_scale: float | None = Field(default=None, ge=0, le=50, allow_inf_nan=False)
    guidance_rescale: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)


def settle(
    request: PromptRequest, defaults: BatchDefaults, card: ModelCard, first_position: int
) -> Iterator[ImageSettings]:
    """Return the settings of each image that a line asks for, in order.

    Args:
        request: the line.
        defaults: what the batch says.
        card: what the model says.
        first_position: how many jobs of the batch come before; seeds count on from there.

    Raises:
        ValueError: the outcome does not fit together.
    """
    sampler = settle_sampler(card.sampler, [defaults, request])
    negative = request.negative_prompt
    base = ImageSettings(
        prompt=request.prompt,
        negative_prompt=defaults.negative_prompt if negative is None else negative,
        seed=0,
        width=request.width or defaults.width or card.width,
        height=request.height or defaults.height or card.height,
        **sampler.model_dump(),
    )
    first_seed = defaults.seed + first_position if request.seed is None else request.seed
    count = request.n if "n" in request.model_fields_set else defaults.n
    return (
        base.model_copy(update={"seed": (first_seed + index) % SEEDS}) for index in range(count)
    )
