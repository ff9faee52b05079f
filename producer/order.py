"""What a batch is to be, and what came of submitting it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from producer.prompt_files import PromptSource
from producer.rejects import Rejects
from producer.settle import BatchDefaults
from shared.domain.jobs import DEFAULT_TENANT
from shared.errors import InputError
from shared.models.card import ModelCard


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
    takes_good_lines: bool = True
    """Whether a file with bad lines is submitted without them, or not at all."""
    is_held: bool = False
    """Whether its jobs wait for approval."""
    sample: int = 0
    """How many of the held jobs are drawn before, spread over the whole batch."""
    reuses: bool = False
    """Whether images that the tenant has from before are taken for jobs that are the same."""
    client: dict[str, Any] = field(default_factory=dict)
    """What the submitting program wants to remember."""


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
    reused: int = 0
    """Jobs that were done at once, with an image from before."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "batch_id": str(self.batch_id),
            "name": self.name,
            "model": self.model,
            "total": self.total,
            "was_there": self.was_there,
            "reused": self.reused,
            "rejected": self.rejects.to_json(),
        }


class RefusedError(InputError):
    """Lines were refused, and so nothing was written but the list of them."""

    def __init__(self, rejects: Rejects, message: str) -> None:
        super().__init__(f"{rejects.source}: {message}")
        self.rejects = rejects


def content_key(source: PromptSource, order: Order, card: ModelCard) -> str:
    """Hash all that decides the images of a batch, so that the same twice is one batch."""
    decisive = {
        "content": source.fingerprint(),
        "defaults": order.defaults.model_dump(mode="json"),
        "model": card.name,
        "safety_checker": order.safety_checker,
        "held": order.is_held,
        "sample": order.sample,
        "reuses": order.reuses,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
