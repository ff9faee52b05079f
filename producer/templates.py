"""Prompts from a template and lists of values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from pathlib import Path
from string import Formatter

from producer.names import slug_of
from producer.prompt_content import Content, opened_content
from producer.prompt_files import PromptSource, fingerprint_of, source_of
from producer.prompt_format import OBJECT_SCHEME, TemplateMode
from producer.prompt_lines import PromptLine, as_text, line_groups, unreadable_because
from producer.prompt_parsers import parse_fields
from shared.domain.prompts import MAX_METADATA_FIELDS, PromptRequest, control_character_in
from shared.errors import InputError
from shared.settings import Settings

MAX_VALUES = 1_000_000
MAX_VALUES_BYTES = 64 * 2**20
PROMPTS_A_GROUP = 1_000


def template_prompts(
    template: str,
    variables: Mapping[str, str],
    *,
    mode: TemplateMode = TemplateMode.PRODUCT,
    settings: Settings | None = None,
) -> PromptSource:
    """Make a source of every prompt that a template and lists of values give.

    A variable is the name of a file that exists, or an object ``s3://bucket/key``, with a value
    a line (blank lines are skipped; it may be packed); or else a list such as ``red,green``.
    A prompt keeps the values that it is made of as metadata.

    Args:
        template: a text with placeholders such as ``{colour}``; ``{{`` and ``}}`` are braces.
        variables: a file or a list for each placeholder.
        mode: ``product`` takes each value with each, the last variable fastest; ``zip`` takes
            the first of each, then the second of each.
        settings: where the object storage is; needed for ``s3://`` alone.

    Raises:
        InputError: a placeholder and the variables do not match, a variable is empty or not
            readable, or lists to be zipped differ in length.
        ServiceUnavailableError: the object storage does not answer.
    """
    _check_names(template, variables)
    values = {name: _values(name, source, settings) for name, source in variables.items()}
    if mode == TemplateMode.ZIP:
        _check_lengths(values)
        expected = min(map(len, values.values()))
    else:
        expected = math.prod(map(len, values.values()))
    return source_of(
        slug_of(template) or "template",
        lambda: _prompts(template, values, mode),
        expected=expected,
        fingerprint=lambda: fingerprint_of("a template", template, mode, list(values.items())),
    )


def _check_names(template: str, variables: Mapping[str, str]) -> None:
    placeholders = _placeholders(template)
    if not placeholders:
        raise InputError("the template has no placeholder", hint="Write one as {name}.")
    missing = next((name for name in placeholders if name not in variables), None)
    if missing is not None:
        raise InputError(f"there are no values for {{{missing}}} of the template")
    unused = next((name for name in variables if name not in placeholders), None)
    if unused is not None:
        raise InputError(f"{unused}: the template has no placeholder {{{unused}}}")
    ours = next((name for name in variables if name in PromptRequest.model_fields), None)
    if ours is not None:
        raise InputError(f"{ours}: is a field of every prompt; choose another name")
    if len(variables) > MAX_METADATA_FIELDS:
        raise InputError(f"a template has at most {MAX_METADATA_FIELDS} variables")


def _placeholders(template: str) -> Sequence[str]:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        reason = str(error).lower()
        raise InputError(
            f"the template is wrong: {reason}", hint="Write {{ or }} for a brace."
        ) from None
    names = []
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if form or conversion or not name.isidentifier():
            whole = f"{name}{f'!{conversion}' if conversion else ''}{f':{form}' if form else ''}"
            raise InputError(
                f"the template is wrong: {{{whole}}} is no placeholder",
                hint="A placeholder is a name alone, such as {colour}.",
            )
        names.append(name)
    return names


def _check_lengths(values: Mapping[str, Sequence[str]]) -> None:
    first, *others = values
    for other in others:
        if len(values[first]) != len(values[other]):
            raise InputError(
                f"lists to be zipped differ in length: {first} has {len(values[first]):,}, "
                f"{other} has {len(values[other]):,}"
            )


def _values(name: str, source: str, settings: Settings | None) -> Sequence[str]:
    if source.startswith(OBJECT_SCHEME) or _exists(source):
        with opened_content(source, settings) as content:
            found = list(_values_in(content))
    elif "," in source:
        found = [value.strip() for value in source.split(",") if value.strip()]
        for value in found:
            _check_value(value, name)
    else:
        raise InputError(
            f"{name}: there is no file {source}",
            hint=f"A list needs a comma: {name}=red,green.",
        )
    if not found:
        raise InputError(f"{name}: {source} holds no value")
    return found


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long for a name, or none
        return False


def _values_in(content: Content) -> Iterator[str]:
    count = size = 0
    for group in line_groups(content.blocks()):
        for number, line in enumerate(group.lines, group.first_number):
            value = as_text(line).strip()
            if not value:
                continue
            count += 1
            size += len(line)
            _check_value(value, f"{content.name}:{number}", is_too_long=group.is_too_long)
            if count > MAX_VALUES or size > MAX_VALUES_BYTES:
                raise InputError(
                    f"{content.name}: holds more than {MAX_VALUES:,} values, "
                    f"or than {MAX_VALUES_BYTES:,} bytes"
                )
            yield value


def _check_value(value: str, where: str, *, is_too_long: bool = False) -> None:
    reason = unreadable_because(value, is_too_long=is_too_long) or control_character_in(value)
    if reason:
        raise InputError(f"{where}: {reason}")


def _prompts(
    template: str, values: Mapping[str, Sequence[str]], mode: TemplateMode
) -> Iterator[Sequence[PromptLine]]:
    lists = values.values()
    combined = product(*lists) if mode == TemplateMode.PRODUCT else zip(*lists, strict=True)
    numbered = enumerate(combined, 1)
    while group := list(islice(numbered, PROMPTS_A_GROUP)):
        yield [
            _parse_prompt(number, template, dict(zip(values, chosen, strict=True)))
            for number, chosen in group
        ]


def _parse_prompt(number: int, template: str, values: Mapping[str, str]) -> PromptLine:
    return parse_fields(number, {"prompt": template.format_map(values), **values}, None)
