"""Who draws: a model with a sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from shared.domain.sampling import SamplerSettings, SchedulerName, settle_sampler
from shared.errors import InputError
from shared.models.card import ModelCard

OWN = "own"
"""How a user asks for the model's own sampler."""
DEFAULT_SAMPLERS = (OWN, f"{SchedulerName.DPM_SOLVER}:16")


class _Choice(NamedTuple):
    """What a sampler's specification says."""

    scheduler: SchedulerName
    steps: int | None = None
    squeeze: str | None = None
    guidance_scale: float | None = None
    guidance_rescale: float | None = None


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model and how it samples."""

    model: str
    """What tells it from the others' models."""
    card: ModelCard
    sampler: SamplerSettings

    @property
    def name(self) -> str:
        """Model and sampler."""
        return f"{self.model} {sampler_name(self.sampler)}"


def sampler_name(sampler: SamplerSettings) -> str:
    """Return a sampler as `parse_sampler` reads it, which leaves out guidance."""
    parts = [sampler.scheduler.value, str(sampler.steps)]
    return ":".join([*parts, sampler.squeeze] if sampler.squeeze else parts)


def parse_sampler(text: str, model: SamplerSettings) -> SamplerSettings:
    """Read `own`, or SCHEDULER[:STEPS[:N,I]], such as `dpmsolver++:16:10,6`.

    What it does not say is the model's own, guidance always.

    Raises:
        InputError: it cannot be read, or does not fit together.
    """
    if text == OWN:
        return model
    name, *rest = text.split(":", 2)
    steps, squeeze = (*rest, None, None)[:2]
    try:
        scheduler = SchedulerName(name)
    except ValueError:
        names = ", ".join([OWN, *(known.value for known in SchedulerName)])
        raise InputError(f"--sampler: no scheduler {name!r}; there are {names}") from None
    try:
        choice = _Choice(scheduler, None if steps is None else int(steps), squeeze)
        return settle_sampler(model, [choice])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        message = str(first["msg"]).removeprefix("Value error, ")
        raise InputError(f"--sampler: {text}: {message}") from None
    except ValueError as error:
        raise InputError(f"--sampler: {text}: {error}") from None


def line_up(models: Sequence[tuple[str, ModelCard]], samplers: Sequence[str]) -> list[Contestant]:
    """Let every model draw with every sampler; the first is what others are compared with.

    Args:
        models: what the user called each, and its card.
        samplers: specifications.

    Raises:
        InputError: a sampler is wrong, or one model is named twice.
    """
    asked = [name for name, _ in models]
    if len(set(asked)) < len(asked):
        raise InputError(f"a model is named twice: {', '.join(asked)}")
    names = [card.name for _, card in models]
    contestants = []
    for name, card in models:
        # Two folders may hold models of one name: a model before and after it was tuned.
        shown = card.name if names.count(card.name) == 1 else name
        settings = dict.fromkeys(parse_sampler(text, card.sampler) for text in samplers)
        contestants += [Contestant(shown, card, sampler) for sampler in settings]
    return contestants


def reference(contestant: Contestant, steps: int) -> Contestant:
    """Return who a contestant's solver is measured by: plain steps, and many of them."""
    sampler = contestant.sampler.model_copy(
        update={"scheduler": SchedulerName.DPM_SOLVER, "steps": steps, "squeeze": None}
    )
    return Contestant(contestant.model, contestant.card, sampler)
