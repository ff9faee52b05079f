"""What a batch is to be, as programs write it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from producer.order import Order, check_tags
from producer.settle import BatchDefaults
from shared.domain.money import parse_dollars
from shared.domain.prompts import Label
from shared.errors import InputError
from shared.models.card import ModelCard
from shared.models.catalog import load_served_card
from shared.settings import Settings

MAX_PRIORITY = 1_000
MAX_DEADLINE_HOURS = 87_600
MAX_SAMPLE = 10_000
MAX_AMOUNT_CHARACTERS = 32


def _an_amount(text: str) -> str:
    parse_dollars(text)
    return text


def _are_tags(tags: dict[str, str]) -> dict[str, str]:
    try:
        check_tags(tags)
    except InputError as error:
        raise ValueError(error.message) from None
    return tags


Dollars = Annotated[
    str,
    Field(max_length=MAX_AMOUNT_CHARACTERS, examples=["12.50"]),
    AfterValidator(_an_amount),
]
"""An exact amount as text: a number of JSON would be a float."""
Priority = Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)]
Hours = Annotated[float, Field(gt=0, le=MAX_DEADLINE_HOURS, allow_inf_nan=False)]
Tags = Annotated[dict[str, str], AfterValidator(_are_tags)]


class BatchOptions(BatchDefaults):
    """All that is said of a batch beside its prompts; what is left out is the model's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Label | None = Field(default=None, description="Default: the file's.")
    model: Label | None = Field(default=None, description="Default: the server's.")
    priority: Priority = Field(default=0, description="Higher goes before lower.")
    deadline_hours: Hours | None = Field(default=None, description="Wanted within so many hours.")
    max_cost_usd: Dollars | None = Field(
        default=None, description="What it may cost; then the rest is held."
    )
    tags: Tags = Field(
        default={},
        description="What its costs can be grouped by.",
        examples=[{"campaign": "spring"}],
    )
    hold: bool = Field(default=False, description="Draw nothing until it is approved.")
    sample: int = Field(
        default=0,
        ge=0,
        le=MAX_SAMPLE,
        description="With hold: draw so many of them before, spread over the batch.",
    )
    reuse: bool = Field(default=False, description="Take images that were drawn before.")
    safety_checker: bool = True
    takes_good_lines: bool = Field(
        default=True, description="Whether bad lines are left out, or refuse all of it."
    )

    @model_validator(mode="after")
    def _sample_needs_hold(self) -> Self:
        if self.sample and not self.hold:
            raise ValueError("sample goes with hold")
        return self

    def order(
        self,
        tenant: str,
        *,
        key: str | None = None,
        batch_id: UUID | None = None,
        client: Mapping[str, Any] | None = None,
        traceparent: str | None = None,
    ) -> Order:
        """Make an order of it.

        Args:
            tenant: whose it is.
            key: the same key is the same batch.
            batch_id: what it is to be called; None makes an id.
            client: what the submitting program wants to remember.
            traceparent: of the span of who asks for it.
        """
        defaults = {name: getattr(self, name) for name in BatchDefaults.model_fields}
        hours = self.deadline_hours
        return Order(
            BatchDefaults.model_validate(defaults),
            name=self.name,
            priority=self.priority,
            tenant=tenant,
            wanted_within=None if hours is None else timedelta(hours=hours),
            safety_checker=self.safety_checker,
            key=key,
            batch_id=batch_id,
            takes_good_lines=self.takes_good_lines,
            is_held=self.hold,
            sample=self.sample,
            reuses=self.reuse,
            tags=self.tags,
            max_nanodollars=None if self.max_cost_usd is None else parse_dollars(self.max_cost_usd),
            client=dict(client or {}),
            traceparent=traceparent,
        )

    def card(self, settings: Settings) -> ModelCard:
        """Return the card of its model, among those of the server.

        Raises:
            InputError: there is no such model.
        """
        return load_served_card(self.model, settings.model, settings.resolved_models_dir)
