"""What options say, read and checked."""

from __future__ import annotations

from typing import Any

from shared.domain.money import parse_dollars
from shared.errors import InputError


def dollars(option: str, text: str) -> int:
    """Read an amount of dollars as nano-dollars.

    Raises:
        InputError: it is none, or negative; names the option.
    """
    try:
        return parse_dollars(text)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None


def tenant_name(text: str) -> str:
    """Check the name of a tenant.

    Raises:
        InputError: it is not one.
    """
    from shared.domain.prompts import TenantName

    return _checked("--tenant", text, TenantName)


def label(option: str, text: str) -> str:
    """Check what somebody calls something.

    Raises:
        InputError: it is empty, too long or cannot be printed; names the option.
    """
    from shared.domain.prompts import Label

    return _checked(option, text, Label)


def _checked(option: str, text: str, kind: Any) -> str:
    from pydantic import TypeAdapter, ValidationError

    from producer.rejects import first_reason

    try:
        TypeAdapter(kind).validate_python(text)
    except ValidationError as error:
        raise InputError(f"{option}: {first_reason(error)[1]}") from None
    return text
