"""A page of jobs and which jobs are wanted on it, read here or told by a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from producer.amounts import usd
from producer.text_search import is_storable
from shared.domain.jobs import JobState
from shared.errors import InputError

MAX_TEXT_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are wanted; what is None does not matter.

    Raises:
        InputError: it makes no sense.
    """

    state: JobState | None = None
    error: str | None = None
    """The error code that a job failed with."""
    text: str | None = None
    """What its prompt or its custom_id contains, in upper or lower case."""

    def __post_init__(self) -> None:
        for name, value in (("error", self.error), ("text", self.text)):
            if value is not None:
                _check_text(name, value)
        if self.error is not None and self.state not in {None, JobState.FAILED}:
            raise InputError(
                f"a {self.state} job has no error: only failed ones do",
                hint="Leave out the state, or the error.",
            )

    @property
    def wanted_state(self) -> JobState | None:
        """The state, be it said or implied."""
        return self.state if self.error is None else JobState.FAILED


@dataclass(frozen=True, slots=True)
class ListedJob:
    """What fits on a line of a list of jobs."""

    id: UUID
    position: int
    custom_id: str | None
    state: JobState
    prompt: str
    attempts: int
    error_code: str | None
    image_key: str | None
    cost_nanodollars: int
    """Of all attempts at it."""

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(
            id=UUID(told["job_id"]),
            position=told["position"],
            custom_id=told["custom_id"],
            state=JobState(told["state"]),
            prompt=told["prompt"],
            attempts=told["attempts"],
            error_code=told["error_code"],
            image_key=told["image_key"],
            cost_nanodollars=told["cost_nanodollars"],
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "job_id": str(self.id),
            "position": self.position,
            "custom_id": self.custom_id,
            "state": self.state.value,
            "prompt": self.prompt,
            "attempts": self.attempts,
            "error_code": self.error_code,
            "image_key": self.image_key,
            "cost_nanodollars": self.cost_nanodollars,
            "cost_usd": usd(self.cost_nanodollars),
        }


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs of a batch, in order of position."""

    jobs: Sequence[ListedJob]
    next: int | None
    """After which position the next page begins; None when nothing is left."""
    looked_through: tuple[int, int] | None = None
    """First and last position that were looked at; None unless the page is partial."""

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        looked = told["looked_through"]
        return cls(
            tuple(ListedJob.from_json(job) for job in told["jobs"]),
            told["next"],
            None if looked is None else (looked[0], looked[1]),
        )

    @property
    def is_partial(self) -> bool:
        """Whether it looked through a part of the batch only, and is not full."""
        return self.looked_through is not None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "jobs": [job.to_json() for job in self.jobs],
            "next": self.next,
            "is_partial": self.is_partial,
            "looked_through": list(self.looked_through) if self.looked_through else None,
        }


def _check_text(name: str, value: str) -> None:
    if not 0 < len(value) <= MAX_TEXT_CHARACTERS:
        raise InputError(f"{name}: give 1 to {MAX_TEXT_CHARACTERS} characters")
    if not is_storable(value):
        raise InputError(f"{name}: not a text that a prompt could contain")
