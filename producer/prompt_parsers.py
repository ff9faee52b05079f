"""From lines to prompts, for the formats of a prompt a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pydantic import ValidationError
from pydantic_core import from_json

from producer.prompt_lines import (
    AcceptedLine,
    LineGroup,
    PromptLine,
    as_text,
    unreadable_because,
)
from producer.rejects import RejectedLine, rejected, rejected_by
from shared.domain.prompts import PromptRequest

# The validator itself: `model_validate_json` around it is a third of the cost of a line.
_validate_json = PromptRequest.__pydantic_validator__.validate_json
_validate_fields = PromptRequest.__pydantic_validator__.validate_python


def parse_text(groups: Iterator[LineGroup]) -> Iterator[list[PromptLine]]:
    """Read a prompt a line; blank lines are skipped."""
    return line_by_line(groups, _parse_prompt)


def parse_jsonl(groups: Iterator[LineGroup]) -> Iterator[list[PromptLine]]:
    """Read a JSON object a line; blank lines are skipped."""
    return line_by_line(groups, _parse_object)


def parse_fields(line_number: int, fields: dict[str, object], raw: str | None) -> PromptLine:
    """Check fields that were found in a line. Without it, a reject shows them as JSON."""
    try:
        return AcceptedLine(line_number, _validate_fields(fields), raw)
    except ValidationError as error:
        return rejected_by(error, line_number, fields if raw is None else raw)


def line_by_line(
    groups: Iterator[LineGroup], parse: Callable[[int, bytes], PromptLine | None]
) -> Iterator[list[PromptLine]]:
    """Parse each line by its number; what comes out as None is skipped."""
    for group in groups:
        if group.is_too_long:
            yield [reject_of_long_line(group)]
        else:
            yield [
                parsed
                for number, line in enumerate(group.lines, group.first_number)
                if (parsed := parse(number, line))
            ]


def reject_of_long_line(group: LineGroup) -> RejectedLine:
    """Make the reject of a group that is one line over 1 MiB."""
    text = as_text(group.lines[0])
    return rejected(group.first_number, text, unreadable_because(text, is_too_long=True) or "")


def _parse_prompt(number: int, line: bytes) -> PromptLine | None:
    text = as_text(line).strip()
    if not text:
        return None
    reason = unreadable_because(text)
    if reason:
        return rejected(number, text, reason)
    return parse_fields(number, {"prompt": text}, text)


def _parse_object(number: int, line: bytes) -> PromptLine | None:
    try:
        return AcceptedLine(number, _validate_json(line), line)
    except ValidationError as error:
        text = as_text(line).strip()
        return reject_of_object(number, text, error) if text else None


def reject_of_object(number: int, text: str, error: ValidationError) -> RejectedLine:
    """Make the reject of a line that should have been a JSON object of some form."""
    reason = unreadable_because(text)
    if reason:
        return rejected(number, text, reason)
    try:
        # NaN and infinity are no JSON, and Postgres would refuse them later.
        is_object = isinstance(from_json(text, allow_inf_nan=False), dict)
    except ValueError as no_json:
        where = str(no_json).replace("at line 1 column", "at character")
        return rejected(number, text, f"is not JSON: {where}")
    if not is_object:
        return rejected(number, text, "must be a JSON object")
    return rejected_by(error, number, text)
