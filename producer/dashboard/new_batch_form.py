"""The fields of the form of a new batch: what was typed, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self
from uuid import UUID

from starlette.datastructures import FormData, QueryParams

from producer.api.problems import ApiError, not_found, validated
from producer.batch_options import BatchOptions
from producer.order import check_order
from producer.prompt_format import PromptFormat
from shared.domain.jobs import DEFAULT_TENANT
from shared.errors import ConfigurationError, InputError
from shared.settings import Settings

PROMPTS, FILE, FILE_ID, FORMAT, KEY = "prompts", "file", "file_id", "format", "key"
TAGS = "tags"
OPTIONS = (
    *("name", "model", "negative_prompt", "n", "seed", "width", "height", "steps", "squeeze"),
    *("scheduler", "guidance_scale", "guidance_rescale", "quality", "priority"),
    *("deadline_hours", "max_cost_usd", "sample", TAGS),
)
"""Fields that are typed, by the names of the options; an empty one says nothing."""
BOXES: Mapping[str, tuple[str, bool]] = {
    "hold": ("hold", True),
    "reuse": ("reuse", True),
    "unchecked": ("safety_checker", False),
    "whole": ("takes_good_lines", False),
}
"""Fields that are ticked: the option, and what it then is."""
TEXTS = (*OPTIONS, FORMAT, FILE_ID, KEY)
TICKED = "on"
MORE = frozenset({*OPTIONS, FORMAT, *BOXES}) - {"name", "model"}
"""Fields that are folded away until one of them says something."""


class WrongFieldsError(Exception):
    """What was typed cannot be a batch; the form is shown again."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        """Say what is wrong.

        Args:
            errors: by the name of the field; the empty name is of no field alone.
        """
        super().__init__(str(dict(errors)))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Typed:
    """A form as somebody has filled it in."""

    prompts: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Those that are not empty, as they were typed."""
    ticked: frozenset[str] = frozenset()

    @classmethod
    def of(cls, given: FormData | QueryParams) -> Self:
        """Read a form, or the query of a link that fills it in; what is unknown is left out."""
        said = {name: text for name, text in given.items() if isinstance(text, str)}
        return cls(
            said.get(PROMPTS, said.get("prompt", "")),
            {name: said[name] for name in TEXTS if said.get(name, "").strip()},
            frozenset(BOXES.keys() & said.keys()),
        )

    def text(self, name: str) -> str:
        """Return what a field says, which may be nothing."""
        return self.texts.get(name, "")

    def with_prompts(self, prompts: str) -> Typed:
        """Return it with prompts in the place of a file."""
        texts = {name: text for name, text in self.texts.items() if name != FILE_ID}
        return Typed(prompts, texts, self.ticked)

    def with_file(self, file_id: UUID) -> Typed:
        """Return it with a file in the place of prompts."""
        return Typed("", {**self.texts, FILE_ID: str(file_id)}, self.ticked)

    def with_key(self, key: UUID) -> Typed:
        """Return it with what makes it, sent twice, one batch."""
        return replace(self, texts={**self.texts, KEY: str(key)})

    def named(self, name: str) -> Typed:
        """Return it with a name, unless it has one."""
        return replace(self, texts={"name": name, **self.texts})

    @property
    def has_more(self) -> bool:
        """Whether anything is said that is folded away at first."""
        return not MORE.isdisjoint({*self.texts, *self.ticked})

    @property
    def hidden(self) -> Mapping[str, str]:
        """All fields but the prompts, for the next form."""
        return {**self.texts, **dict.fromkeys(sorted(self.ticked), TICKED)}

    @property
    def file_id(self) -> UUID | None:
        """The file that was uploaded before.

        Raises:
            ApiError: it is no id: 404.
        """
        given = self.text(FILE_ID)
        try:
            return UUID(given) if given else None
        except ValueError:
            raise not_found("such file") from None

    @property
    def key(self) -> str:
        """What makes this form, sent twice, one batch.

        Raises:
            InputError: there is none.
        """
        try:
            return str(UUID(self.text(KEY)))
        except ValueError:
            raise InputError("this form is not whole", hint="Begin again with New batch.") from None

    @property
    def prompt_format(self) -> PromptFormat | None:
        """How the prompts are written; None is to be told by the file.

        Raises:
            WrongFieldsError: there is no such format.
        """
        given = self.text(FORMAT)
        try:
            return PromptFormat(given) if given else None
        except ValueError:
            raise WrongFieldsError({FORMAT: "is none of the formats"}) from None

    def options(self, settings: Settings) -> BatchOptions:
        """Return what the batch is to be.

        Args:
            settings: which models there are, and what is allowed.

        Raises:
            WrongFieldsError: some of it is wrong.
        """
        said: dict[str, Any] = {name: self.texts[name] for name in OPTIONS if name in self.texts}
        if TAGS in said:
            said[TAGS] = _tags(said[TAGS])
        said |= dict(BOXES[name] for name in self.ticked)
        try:
            options = validated(BatchOptions, said)
        except ApiError as error:
            raise WrongFieldsError(_by_field(error)) from None
        try:
            card = options.card(settings)
        except (ConfigurationError, InputError) as error:
            raise WrongFieldsError({"model": error.message}) from None
        try:
            check_order(options.order(DEFAULT_TENANT), card, settings)
        except InputError as error:
            raise WrongFieldsError({"": error.message}) from None
        return options


def _tags(text: str) -> dict[str, str]:
    pairs = [line.strip().partition("=") for line in text.splitlines() if line.strip()]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise WrongFieldsError({TAGS: f"{wrong[0][:80]!r} is not KEY=VALUE"})
    return {key.strip(): value.strip() for key, _, value in pairs}


def _by_field(error: ApiError) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for one in error.more["errors"]:
        # Of the form as a whole there is one check: of the sample.
        name = one["field"].partition(".")[0] or "sample"
        found.setdefault(name, one["message"])
    return found
