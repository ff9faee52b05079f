"""What a batch is to be, and what came of submitting it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from producer.prompt_files import PromptSource
from producer.rejects import Rejects, first_reason
from producer.settle import BatchDefaults, check_default_sampler
from shared.domain.jobs import DEFAULT_TENANT
from shared.domain.prompts import WITHOUT_CONTROL_CHARACTERS
from shared.errors import InputError
from shared.models.card import ModelCard
from shared.settings import Settings

MAX_TAGS = 16
MAX_TAG_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Order:
    """What a batch is to be, beside its prompts."""

    defaults: BatchDefaults = field(default_factory=BatchDefaults)
    name: str | None = None
    """None takes the name of the prompts' source."""
    priority: int = 0
    """Batches of a higher one go first."""
    tenant: str = DEFAULT_TENANT
    """Whose it is."""
    wanted_within: timedelta | None = None
    """Until its deadline, from now."""
    safety_checker: bool = True
    """Whether the model's safety checker, where there is one, looks at the images."""
    key: str | None = None
    """The same key is the same batch. None is a batch of its own, written whole or not at all."""
    batch_id: UUID | None = None
    """What a new batch is to be called; None makes an id."""
    takes_good_lines: bool = True
    """Whether a file with bad lines is submitted without them, or not at all."""
    is_held: bool = False
    """Whether its jobs wait for approval."""
    sample: int = 0
    """How many of the held jobs are drawn before, spread over the whole batch."""
    reuses: bool = False
    """Whether images that the tenant has from before are taken for jobs that are the same."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What its costs can be grouped by; see `check_tags`."""
    max_nanodollars: int | None = None
    """What it may cost; None is any amount."""
    local_workers: int = 0
    """How many workers this host starts for it if none is alive: what it is quoted for then."""
    images_per_pass: int | None = None
    """How many of its images are drawn at once, to measure that; None leaves it to the workers."""
    client: dict[str, Any] = field(default_factory=dict)
    """What the submitting program wants to remember."""
    traceparent: str | None = None
    """Of the span of who asks for it."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A batch that is in the books."""

    batch_id: UUID
    name: str
    model: str
    total: int
    """Jobs, which is images."""
    rejects: Rejects
    was_there: int = 0
    """Jobs that an earlier submission of the same key had written."""
    requests: int | None = None
    """Good lines of the source; None where it was not read to its end again."""
    reused: int = 0
    """Jobs that were done at once, with an image from before."""
    quote: Mapping[str, Any] | None = None
    """What it is expected to cost, where enough is known; see `producer.quote_batch`."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "batch_id": str(self.batch_id),
            "name": self.name,
            "model": self.model,
            "total": self.total,
            "was_there": self.was_there,
            "reused": self.reused,
            "quote": None if self.quote is None else dict(self.quote),
            "rejected": self.rejects.to_json(),
        }


class RefusedError(InputError):
    """Lines were refused, and so nothing was written but the list of them."""

    def __init__(self, rejects: Rejects, message: str) -> None:
        super().__init__(f"{rejects.source}: {message}")
        self.rejects = rejects


def check_order(order: Order, card: ModelCard, settings: Settings) -> None:
    """Check all that needs no prompt.

    Raises:
        InputError: the settings do not fit together, the safety checker may not be switched
            off, or a tag is not one.
    """
    check_tags(order.tags)
    if not order.safety_checker and not settings.unchecked_batches:
        raise InputError(
            "only an operator may switch the safety checker off",
            hint="TENSTEP_UNCHECKED_BATCHES=true allows it on this installation.",
        )
    try:
        check_default_sampler(order.defaults, card)
    except ValueError as error:
        raise InputError(first_reason(error)[1]) from None


def check_tags(tags: Mapping[str, str]) -> None:
    """Check the tags of a batch.

    Raises:
        InputError: there are more than 16, or a key or a value is empty, longer than 64
            characters, or holds control characters.
    """
    if len(tags) > MAX_TAGS:
        raise InputError(f"a batch has at most {MAX_TAGS} tags, not {len(tags)}")
    for key, value in tags.items():
        for text in (key, value):
            if not 0 < len(text) <= MAX_TAG_CHARACTERS:
                raise InputError(
                    f"tag {key}={value}: key and value have 1 to {MAX_TAG_CHARACTERS} characters"
                )
            if not re.match(WITHOUT_CONTROL_CHARACTERS, text):
                raise InputError(f"tag {key!r}: holds a control character")


def content_key(source: PromptSource, order: Order, card: ModelCard) -> str:
    """Hash all that decides the images of a batch, so that the same twice is one batch.

    What it may cost, and how its costs are grouped, does not. Along other searched grids the same
    lines are other images.
    """
    decisive = {
        "content": source.fingerprint(),
        "defaults": order.defaults.model_dump(mode="json"),
        "model": card.name,
        "safety_checker": order.safety_checker,
        "held": order.is_held,
        "sample": order.sample,
        "reuses": order.reuses,
    }
    if grids := card.searched_grids:
        decisive["searched_timesteps"] = grids
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
