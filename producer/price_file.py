"""Price files: TOML with what devices and the object store cost, read whole or not at all."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, ValidationError

from producer.rejects import PLAIN_WORDS
from shared.db.cost_tables import ANY_SKU
from shared.domain.devices import DeviceKind
from shared.domain.money import NANOSECONDS, parse_dollars
from shared.domain.prompts import WITHOUT_CONTROL_CHARACTERS, Label, Side, control_character_in
from shared.domain.sampling import MAX_STEPS
from shared.errors import InputError

MAX_FILE_BYTES = 2**20
MAX_SECONDS = 86_400
CURRENCY = "USD"
OTHER_CURRENCY = "tenstep keeps its books in US dollars"


def _nanodollars(value: object) -> object:
    """Read an amount that TOML has as a text, an integer or a float, exactly."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("must be a number of dollars")  # noqa: TRY004 - Pydantic wants it
    return parse_dollars(str(value))


def _nanoseconds(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("must be a number of seconds")  # noqa: TRY004 - Pydantic wants it
    try:
        seconds = Decimal(value)
    except ArithmeticError:
        raise ValueError(f"{value!r} is not a number of seconds") from None
    if not seconds.is_finite() or not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(f"{value} is not between 0 and {MAX_SECONDS:,} seconds")
    nanoseconds = seconds * NANOSECONDS
    if nanoseconds != nanoseconds.to_integral_value():
        raise ValueError(f"{value} is finer than a nanosecond, which is 9 decimals")
    return int(nanoseconds)


def _moment(value: object) -> object:
    """Take a date as its midnight, and a time without a zone, as UTC."""
    if isinstance(value, datetime):
        try:
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
        except OverflowError:
            raise ValueError(f"{value} is out of range") from None
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    raise ValueError("must be a date such as 2026-12-01 or a time such as 2026-12-01T09:00:00Z")


def _date(value: object) -> object:
    if isinstance(value, datetime) or not isinstance(value, date):
        raise ValueError("must be a date such as 2026-12-01")  # noqa: TRY004 - Pydantic wants it
    return value


Dollars = Annotated[int, BeforeValidator(_nanodollars)]
Seconds = Annotated[int, BeforeValidator(_nanoseconds)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
SourceDate = Annotated[date, BeforeValidator(_date)]
Sku = Annotated[str, Field(max_length=64, pattern=WITHOUT_CONTROL_CHARACTERS)]
Source = Annotated[str, Field(min_length=1, max_length=1_000, pattern=WITHOUT_CONTROL_CHARACTERS)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PriceTable(_Table):
    """What an hour of a device costs from a moment on."""

    device_kind: DeviceKind = Field(alias="kind")
    sku: Sku = ANY_SKU
    nanodollars_per_hour: Dollars = Field(alias="usd_per_hour")
    effective_from: Moment | None = Field(default=None, alias="from")
    """None is when it is recorded."""
    source: Source
    source_date: SourceDate | None = None
    is_example: StrictBool = Field(default=False, alias="example")


class StoreTable(_Table):
    """What the object store costs from a moment on."""

    nanodollars_per_gib_month: Dollars = Field(alias="usd_per_gib_month")
    nanodollars_per_thousand_requests: Dollars = Field(alias="usd_per_thousand_requests")
    effective_from: Moment | None = Field(default=None, alias="from")
    source: Source
    source_date: SourceDate | None = None


class RateTable(_Table):
    """How long an image takes on a device that nobody has measured."""

    device_kind: DeviceKind = Field(alias="kind")
    sku: Sku = ANY_SKU
    model: Label
    width: Side
    height: Side
    iterations: int = Field(ge=1, le=MAX_STEPS)
    device_ns: Seconds = Field(alias="seconds_per_image", gt=0)
    load_ns: Seconds = Field(alias="load_seconds")
    source: Source


@dataclass(frozen=True, slots=True)
class PriceFile:
    """All tables of a file, in its order."""

    prices: Sequence[PriceTable] = ()
    stores: Sequence[StoreTable] = ()
    rates: Sequence[RateTable] = ()


def read_price_file(path: Path) -> PriceFile:
    """Read and check a price file.

    Raises:
        InputError: it cannot be read, or something in it is wrong; names every table and field.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    return parse_price_file(content, path.name)


def parse_price_file(content: bytes, name: str) -> PriceFile:
    """Check the content of a price file.

    Args:
        content: TOML.
        name: what errors call it.

    Raises:
        InputError: something in it is wrong; names every table and field.
    """
    document = _document(content, name)
    checked = {table: _checked(document.pop(table, []), table) for table in TABLES}
    problems = [problem for _, found in checked.values() for problem in found]
    currency = document.pop("currency", CURRENCY)
    if currency != CURRENCY:
        problems.insert(0, f"currency: {currency!r}: {OTHER_CURRENCY}")
    problems += [f"{unknown}: is not a known table or field" for unknown in document]
    tables = [tables for tables, _ in checked.values()]
    if not problems and not any(tables):
        problems.append("holds no price: write [[price]] above each")
    if problems:
        lines = "\n".join(f"{name}: {problem}" for problem in problems)
        raise InputError(lines, hint="Nothing was recorded.")
    return PriceFile(*tables)


def _document(content: bytes, name: str) -> dict[str, Any]:
    if len(content) > MAX_FILE_BYTES:
        raise InputError(f"{name}: is larger than {MAX_FILE_BYTES // 2**20} MiB")
    try:
        return tomllib.loads(content.decode("utf-8"), parse_float=Decimal)
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8: {error}") from None
    except RecursionError:
        raise InputError(f"{name}: not TOML: too many brackets") from None
    except ValueError as error:
        raise InputError(f"{name}: not TOML: {error}") from None


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of table."""

    model: type[PriceTable | StoreTable | RateTable]
    key: tuple[str, ...]
    """Attributes that no two tables share."""
    field: str
    """What is wrong if they do."""
    shared: str


TABLES: Mapping[str, _Kind] = {
    "price": _Kind(
        PriceTable, ("device_kind", "sku", "effective_from"), "from", "device and moment"
    ),
    "store": _Kind(StoreTable, ("effective_from",), "from", "moment"),
    "rate": _Kind(
        RateTable,
        ("device_kind", "sku", "model", "width", "height", "iterations"),
        "model",
        "device, model and shape",
    ),
}


def _checked(tables: object, name: str) -> tuple[list[Any], list[str]]:
    """Return the tables of a kind that are right, and all that is wrong with the others."""
    if not isinstance(tables, list):
        return [], [f"{name}: must be written [[{name}]]"]
    kind = TABLES[name]
    right: dict[tuple[object, ...], int] = {}
    found, problems = [], []
    for number, table in enumerate(tables, 1):
        try:
            checked = kind.model.model_validate(table)
        except ValidationError as error:
            problems += [f"{name} {number}: {reason}" for reason in reasons(error)]
            continue
        key = tuple(getattr(checked, attribute) for attribute in kind.key)
        first = right.setdefault(key, number)
        if first != number:
            same = f"the same {kind.shared} as {name} {first}"
            problems.append(f"{name} {number}: {kind.field}: {same}")
        found.append(checked)
    return found, problems


def reasons(error: ValidationError) -> Iterator[str]:
    """Say what is wrong with a table, field by field, in plain words."""
    for one in error.errors(include_url=False, include_context=False):
        message = OTHER_WORDS.get(one["type"], one["msg"])
        if one["type"] == "string_pattern_mismatch":
            message = control_character_in(one["input"]) or message
        for said, plain in PLAIN_WORDS.items():
            message = message.replace(said, plain)
        yield ": ".join([*(str(part) for part in one["loc"]), message])


OTHER_WORDS = {"extra_forbidden": "is not a known field", "model_type": "must be a table"}
"""Pydantic's messages in the words of a price file."""


def format_price_file(document: Mapping[str, Any]) -> str:
    """Write a document of tables as TOML, which `parse_price_file` reads again."""
    parts = [f"currency = {_toml(document['currency'])}\n"]
    for name in TABLES:
        for table in document[name]:
            lines = [f"{field} = {_toml(value)}" for field, value in table.items()]
            parts.append("\n".join([f"[[{name}]]", *lines, ""]))
    return "\n".join(parts)


def plain(value: Any) -> Any:
    """Return a document of tables as JSON has it: times and dates as text."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, date) else value


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        # A date is its midnight.
        is_midnight = value.timetz() == time(tzinfo=UTC)
        return str(value.date()) if is_midnight else value.isoformat().replace("+00:00", "Z")
    if isinstance(value, str):
        # A basic string is a JSON string, but for this one character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
