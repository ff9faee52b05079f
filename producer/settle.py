"""From a prompt line to the settings of its images: model card, then batch, then line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from producer.rejects import FieldError
from shared.domain.prompts import MAX_IMAGES_A_PROMPT, MAX_SEED, Prompt, PromptRequest, Side
from shared.domain.quality import Quality
from shared.domain.sampling import (
    MAX_STEPS,
    SamplerChoice,
    SamplerSettings,
    SchedulerName,
    settle_sampler,
)
from shared.domain.sizes import Sizes, cannot_draw, how_to_compile
from shared.errors import InputError
from shared.models.card import ModelCard
from shared.models.grids import Grids, no_grid

SEEDS = MAX_SEED + 1
REMEMBERED_CHOICES = 1_024


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
    quality: Quality | None = None


class LineChoice(NamedTuple):
    """What a line says of the size and the sampler; None says nothing."""

    width: int | None
    height: int | None
    scheduler: SchedulerName | None
    steps: int | None
    squeeze: str | None
    guidance_scale: float | None
    guidance_rescale: float | None
    quality: Quality | None


CHOICES = frozenset(LineChoice._fields)
NO_CHOICE = LineChoice(*[None] * len(LineChoice._fields))


class Settled(NamedTuple):
    """Size and sampler of an image, with nothing left open."""

    width: int
    height: int
    scheduler: str
    steps: int
    squeeze: str | None
    guidance_scale: float
    guidance_rescale: float
    quality: str


class Settler:
    """Lays a line over the batch's defaults, and these over the model's card."""

    def __init__(self, defaults: BatchDefaults, card: ModelCard, sizes: Sizes = None) -> None:
        """Take what lines leave open.

        Args:
            defaults: the batch's.
            card: the model's.
            sizes: the only ones that can be drawn; None is any.

        Raises:
            ConfigurationError: the model's searched grids are broken.
        """
        self._defaults = defaults
        self._card = card
        self.searched_grids = card.searched_grids
        self._sizes = sizes
        # Of a million lines most say the same.
        self._settled = lru_cache(REMEMBERED_CHOICES)(self._settle)

    def settle(self, request: PromptRequest) -> Settled:
        """Return the size and the sampler of a line's images.

        Raises:
            ValueError: the outcome does not fit together, nobody can draw its size, or no grid of
                so many steps was searched.
        """
        if CHOICES.isdisjoint(request.model_fields_set):
            return self._settled(NO_CHOICE)
        return self._settled(
            LineChoice(
                request.width,
                request.height,
                request.scheduler,
                request.steps,
                request.squeeze,
                request.guidance_scale,
                request.guidance_rescale,
                request.quality,
            )
        )

    def negative_prompt(self, request: PromptRequest) -> str:
        """Return what a line's images should not show."""
        own = request.negative_prompt
        return self._defaults.negative_prompt if own is None else own

    def seeds(self, request: PromptRequest, first_position: int) -> Sequence[int]:
        """Return the seed of each image that a line asks for, in order.

        Args:
            request: the line.
            first_position: how many jobs of the batch come before; seeds count on from there.
        """
        count = request.n if "n" in request.model_fields_set else self._defaults.n
        first = request.seed
        if first is None:
            first = self._defaults.seed + first_position
        return [(first + index) % SEEDS for index in range(count)]

    def _settle(self, choice: LineChoice) -> Settled:
        defaults, card = self._defaults, self._card
        sampler = settle_sampler(card.sampler, [defaults, choice])
        _check_grid(sampler, self.searched_grids)
        width = choice.width or defaults.width or card.width
        height = choice.height or defaults.height or card.height
        size = width, height
        if self._sizes is not None and size not in self._sizes:
            reason = cannot_draw([size], self._sizes)
            raise FieldError("width", f"{reason}; {how_to_compile(card.name, size)}")
        return Settled(
            width=width,
            height=height,
            scheduler=sampler.scheduler.value,
            steps=sampler.steps,
            squeeze=sampler.squeeze,
            guidance_scale=sampler.guidance_scale,
            guidance_rescale=sampler.guidance_rescale,
            quality=(choice.quality or defaults.quality or Quality.EXACT).value,
        )


def check_default_sampler(defaults: SamplerChoice, card: ModelCard) -> None:
    """Check what was named for a whole batch, before any line is read.

    Raises:
        ConfigurationError: the model's searched grids are broken.
        ValueError: it does not fit together, or no grid of so many steps was searched.
    """
    _check_grid(settle_sampler(card.sampler, [defaults]), card.searched_grids)


def _check_grid(sampler: SamplerSettings, grids: Grids) -> None:
    if sampler.scheduler is SchedulerName.SEARCHED and sampler.steps not in grids:
        raise FieldError("steps", no_grid(sampler.steps, grids))


def check_default_size(defaults: BatchDefaults, card: ModelCard, sizes: Sizes) -> None:
    """Check the size that was named for a whole batch, before any line is read.

    Raises:
        InputError: nobody can draw it.
    """
    size = defaults.width or card.width, defaults.height or card.height
    is_named = defaults.width is not None or defaults.height is not None
    if is_named and sizes is not None and size not in sizes:
        raise InputError(cannot_draw([size], sizes), hint=f"{how_to_compile(card.name, size)}.")
