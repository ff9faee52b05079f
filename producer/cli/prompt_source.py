"""Prompts that a command is given as a file or as a template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from shared.errors import InputError

if TYPE_CHECKING:
    from producer.prompt_files import PromptSource
    from producer.prompt_format import PromptFormat
    from shared.settings import Settings


class GivenPrompts(NamedTuple):
    """Where prompts are to come from, as options say it."""

    file: str | None
    format: PromptFormat | None
    template: str | None
    variables: Sequence[str]
    zips: bool

    def check(self) -> None:
        """Make sure that there is a file or a template, and what goes with it.

        Raises:
            InputError: there is neither or both.
        """
        if (self.file is None) == (self.template is None):
            raise InputError("give a FILE or a --template")
        if self.file is not None and (self.variables or self.zips):
            raise InputError("--var and --zip go with --template")


@contextmanager
def prompt_source(given: GivenPrompts, settings: Settings, model: str) -> Iterator[PromptSource]:
    """Open a file of prompts, or multiply a template.

    Lines that can name a model must name this one.

    Raises:
        InputError: there is neither or both, or it cannot be read.
        ServiceUnavailableError: the object storage does not answer.
    """
    from producer.prompt_files import open_prompts

    given.check()
    if given.file is not None:
        with open_prompts(
            given.file, prompt_format=given.format, settings=settings, model=model
        ) as source:
            yield source
    else:
        yield multiplied(given, settings)


def multiplied(given: GivenPrompts, settings: Settings) -> PromptSource:
    """Multiply a template.

    Raises:
        InputError: it does not go together with its variables, or one cannot be read.
        ServiceUnavailableError: the object storage does not answer.
    """
    from producer.prompt_format import TemplateMode
    from producer.templates import template_prompts

    mode = TemplateMode.ZIP if given.zips else TemplateMode.PRODUCT
    variables = _named(given.variables)
    return template_prompts(given.template or "", variables, mode=mode, settings=settings)


def _named(variables: Sequence[str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for variable in variables:
        name, equals, values = variable.partition("=")
        if not equals:
            raise InputError(f"--var {variable}: is not NAME=FILE, nor NAME=a,b,c")
        if name in named:
            raise InputError(f"--var {name}: is given twice")
        named[name] = values
    return named
