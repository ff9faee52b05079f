"""Prompts that a command is given as a file or as a template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shared.errors import InputError

if TYPE_CHECKING:
    from producer.prompt_files import PromptSource
    from producer.prompt_format import PromptFormat
    from shared.settings import Settings


@contextmanager
def prompt_source(
    file: str | None,
    prompt_format: PromptFormat | None,
    template: str | None,
    variables: Sequence[str],
    settings: Settings,
    model: str,
    *,
    zips: bool,
) -> Iterator[PromptSource]:
    """Open a file of prompts, or multiply a template.

    Lines that can name a model must name this one.

    Raises:
        InputError: there is neither or both, or it cannot be read.
        ServiceUnavailableError: the object storage does not answer.
    """
    from producer.prompt_files import open_prompts
    from producer.prompt_format import TemplateMode
    from producer.templates import template_prompts

    check_choice(file, template, variables, zips=zips)
    if file is not None:
        with open_prompts(
            file, prompt_format=prompt_format, settings=settings, model=model
        ) as source:
            yield source
    elif template is not None:
        mode = TemplateMode.ZIP if zips else TemplateMode.PRODUCT
        yield template_prompts(template, _named(variables), mode=mode, settings=settings)


def check_choice(
    file: str | None, template: str | None, variables: Sequence[str], *, zips: bool
) -> None:
    """Make sure that there is a file or a template, and what goes with it.

    Raises:
        InputError: there is neither or both.
    """
    if (file is None) == (template is None):
        raise InputError("give a FILE or a --template")
    if file is not None and (variables or zips):
        raise InputError("--var and --zip go with --template")


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
