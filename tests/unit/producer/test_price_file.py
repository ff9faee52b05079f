"""A price file is read exactly, or refused with all that is wrong with it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.price_file import (
    MAX_FILE_BYTES,
    PriceFile,
    format_price_file,
    parse_price_file,
    read_price_file,
)
from shared.errors import InputError

PRICE = 'kind = "cuda"\nsource = "a bill"\n'
STORE = 'usd_per_thousand_requests = "0.005"\nsource = "a bill"\n'
RATE = (
    'kind = "cuda"\nmodel = "emoji-64"\nwidth = 64\nheight = 64\niterations = 10\n'
    'load_seconds = 5\nsource = "a guess"\n'
)
WHOLE = """
currency = "USD"

[[price]]
kind = "cuda"
sku = "g5.xlarge"
usd_per_hour = "1.006"
from = 2026-12-01T01:00:00+01:00
source = "a bill"
source_date = 2026-11-30
example = true

[[store]]
usd_per_gib_month = 0.023
usd_per_thousand_requests = "0.005"
from = 2026-12-01
source = "a bill"

[[rate]]
kind = "qaic"
model = "decidiffusion-2.0"
width = 512
height = 512
iterations = 10
seconds_per_image = 0.123456789
load_seconds = 60
source = "a guess"
"""


def parse(text: str) -> PriceFile:
    return parse_price_file(text.encode(), "prices.toml")


def problems(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse(text)
    assert caught.value.exit_code == 2
    return caught.value.message.splitlines()


def test_every_field_is_read_exactly() -> None:
    file = parse(WHOLE)

    [price], [store], [rate] = file.prices, file.stores, file.rates
    assert (price.device_kind, price.sku) == ("cuda", "g5.xlarge")
    assert price.nanodollars_per_hour == 1_006_000_000
    assert price.effective_from == datetime(2026, 12, 1, tzinfo=UTC)
    assert (price.source, price.source_date) == ("a bill", date(2026, 11, 30))
    assert price.is_example
    assert store.nanodollars_per_gib_month == 23_000_000
    assert store.nanodollars_per_thousand_requests == 5_000_000
    assert store.effective_from == datetime(2026, 12, 1, tzinfo=UTC)
    assert (rate.device_ns, rate.load_ns) == (123_456_789, 60_000_000_000)


@pytest.mark.parametrize(
    ("written", "nanodollars"),
    [
        ("0.1", 100_000_000),
        ('"0.1"', 100_000_000),
        ("7", 7_000_000_000),
        ("0.000000001", 1),
        ("1e-9", 1),
        ("0", 0),
        # No float is this number.
        ("0.123456789", 123_456_789),
        ("999999999.999999999", 999_999_999_999_999_999),
    ],
)
def test_an_amount_is_read_to_the_nanodollar_however_it_is_written(
    written: str, nanodollars: int
) -> None:
    [price] = parse(f"[[price]]\n{PRICE}usd_per_hour = {written}").prices

    assert price.nanodollars_per_hour == nanodollars


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-12-01", datetime(2026, 12, 1, tzinfo=UTC)),
        ("2026-12-01T09:30:00", datetime(2026, 12, 1, 9, 30, tzinfo=UTC)),
        ("2026-12-01T09:30:00Z", datetime(2026, 12, 1, 9, 30, tzinfo=UTC)),
        ("2026-12-01T09:30:00-05:30", datetime(2026, 12, 1, 15, tzinfo=UTC)),
    ],
)
def test_a_price_begins_at_a_moment_in_utc(written: str, moment: datetime) -> None:
    [price] = parse(f"[[price]]\n{PRICE}usd_per_hour = 1\nfrom = {written}").prices

    assert price.effective_from == moment


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (f"{PRICE}usd_per_hour = -1", "usd_per_hour: -1 is negative"),
        (f'{PRICE}usd_per_hour = "-0.5"', "usd_per_hour: -0.5 is negative"),
        (PRICE, "usd_per_hour: is missing"),
        (f'{PRICE}usd_per_hour = "1,5"', "usd_per_hour: '1,5' is not a number of dollars"),
        (f"{PRICE}usd_per_hour = true", "usd_per_hour: must be a number of dollars"),
        (f"{PRICE}usd_per_hour = [1]", "usd_per_hour: must be a number of dollars"),
        (f"{PRICE}usd_per_hour = inf", "usd_per_hour: 'Infinity' is not a number of dollars"),
        (f"{PRICE}usd_per_hour = nan", "usd_per_hour: 'NaN' is not a number of dollars"),
        (
            f"{PRICE}usd_per_hour = 1e-10",
            "usd_per_hour: 1E-10 is finer than a nano-dollar, which is 9 decimals",
        ),
        (f"{PRICE}usd_per_hour = 1e10", "usd_per_hour: 1E+10 is more than 1,000,000,000 dollars"),
        (
            f'{PRICE}usd_per_hour = 1\nfrom = "2026-12-01"',
            "from: must be a date such as 2026-12-01 or a time such as 2026-12-01T09:00:00Z",
        ),
        (
            f"{PRICE}usd_per_hour = 1\nfrom = 0001-01-01T00:00:00+14:00",
            "from: 0001-01-01 00:00:00+14:00 is out of range",
        ),
        (
            f"{PRICE}usd_per_hour = 1\nsource_date = 2026-12-01T00:00:00Z",
            "source_date: must be a date such as 2026-12-01",
        ),
        (f'{PRICE}usd_per_hour = 1\ncurrency = "USD"', "currency: is not a known field"),
        (f"{PRICE}usd_per_hour = 1\nexample = 1", "example: must be a valid boolean"),
        (f'{PRICE}usd_per_hour = 1\nsku = "{"x" * 65}"', "sku: must have at most 64 characters"),
        (
            f'{PRICE}usd_per_hour = 1\nsku = "a\\tb"',
            "sku: control character U+0009 at character 2",
        ),
        (
            'kind = "tpu"\nsource = "a bill"\nusd_per_hour = 1',
            "kind: must be 'cpu', 'cuda', 'qaic' or 'simulated'",
        ),
        ('kind = "cpu"\nusd_per_hour = 1', "source: is missing"),
        ('kind = "cpu"\nsource = ""\nusd_per_hour = 1', "source: must have at least 1 character"),
    ],
)
def test_a_bad_field_is_named_with_its_table_and_reason(fields: str, problem: str) -> None:
    good = f"[[price]]\n{PRICE}usd_per_hour = 1\nfrom = 2000-01-01\n"

    assert problems(f"{good}[[price]]\n{fields}") == [f"prices.toml: price 2: {problem}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"[[store]]\n{STORE}", "store 1: usd_per_gib_month: is missing"),
        (f"[[store]]\n{STORE}usd_per_gib_month = -1", "store 1: usd_per_gib_month: -1 is negative"),
        (f"[[rate]]\n{RATE}", "rate 1: seconds_per_image: is missing"),
        (
            f"[[rate]]\n{RATE}seconds_per_image = 0",
            "rate 1: seconds_per_image: must be greater than 0",
        ),
        (
            f"[[rate]]\n{RATE}seconds_per_image = 1e-10",
            "rate 1: seconds_per_image: 1E-10 is finer than a nanosecond, which is 9 decimals",
        ),
        (
            f'[[rate]]\n{RATE}seconds_per_image = "x"',
            "rate 1: seconds_per_image: 'x' is not a number of seconds",
        ),
        (
            f"[[rate]]\n{RATE}seconds_per_image = -1",
            "rate 1: seconds_per_image: -1 is not between 0 and 86,400 seconds",
        ),
        ("[price]\nkind = 'cpu'", "price: must be written [[price]]"),
        ("price = [1]", "price 1: must be a table"),
        ("prices = 1", "prices: is not a known table or field"),
        ("", "holds no price: write [[price]] above each"),
        ('currency = "EUR"', "currency: 'EUR': tenstep keeps its books in US dollars"),
        ("a = 2026-13-01", "not TOML: "),
        ("a = ", "not TOML: "),
        ("a = " + "1" * 5_000, "not TOML: "),
        ("a = " + "[" * 100_000, "not TOML: too many brackets"),
    ],
)
def test_whatever_is_wrong_with_a_file_is_told_in_a_line(text: str, problem: str) -> None:
    [first, *_] = problems(text)

    assert first.startswith(f"prices.toml: {problem}")


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = (
        f'currency = "EUR"\n[[price]]\n{PRICE}usd_per_hour = -1\nsku = 3\n'
        f"[[price]]\n{PRICE}\n[[rate]]\n{RATE}"
    )

    assert problems(text) == [
        "prices.toml: currency: 'EUR': tenstep keeps its books in US dollars",
        "prices.toml: price 1: sku: must be a valid string",
        "prices.toml: price 1: usd_per_hour: -1 is negative",
        "prices.toml: price 2: usd_per_hour: is missing",
        "prices.toml: rate 1: seconds_per_image: is missing",
    ]


@pytest.mark.parametrize("second", ["2026-12-01", "2026-12-01T05:30:00+05:30"])
def test_two_prices_of_a_device_from_the_same_moment_are_refused(second: str) -> None:
    table = f"[[price]]\n{PRICE}usd_per_hour = 1\nfrom = "

    assert problems(f"{table}2026-12-01\n{table}{second}\n") == [
        "prices.toml: price 2: from: the same device and moment as price 1"
    ]
    assert len(parse(f"{table}2026-12-01\n{table}{second}\nsku = 'a100'").prices) == 2


def test_two_prices_from_now_on_are_refused() -> None:
    table = f"[[price]]\n{PRICE}usd_per_hour = 1\n"

    assert problems(table + table) == [
        "prices.toml: price 2: from: the same device and moment as price 1"
    ]


def test_two_declared_rates_of_one_shape_are_refused() -> None:
    table = f"[[rate]]\n{RATE}seconds_per_image = 1\n"

    assert problems(table + table) == [
        "prices.toml: rate 2: model: the same device, model and shape as rate 1"
    ]


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(WHOLE + "#" * MAX_FILE_BYTES, "utf-8")

    with pytest.raises(InputError, match="larger than 1 MiB"):
        read_price_file(path)


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    with pytest.raises(InputError, match="No such file"):
        read_price_file(path)
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"prices\.toml: not UTF-8"):
        read_price_file(path)
    with pytest.raises(InputError, match="directory"):
        read_price_file(tmp_path)


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60).filter(
    bool
)
moments = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001 - same
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)


@given(
    usd=st.decimals(0, 10**9, places=9),
    moment=moments,
    source=texts,
    source_date=st.dates() | st.none(),
    sku=texts | st.just(""),
    is_example=st.booleans(),
)
def test_what_is_written_is_read_again(
    *,
    usd: object,
    moment: datetime,
    source: str,
    source_date: date | None,
    sku: str,
    is_example: bool,
) -> None:
    price = {
        "kind": "qaic",
        "sku": sku,
        "usd_per_hour": str(usd),
        "from": moment.astimezone(UTC),
        "source": source,
        "example": is_example,
        **({"source_date": source_date} if source_date else {}),
    }

    written = format_price_file({"currency": "USD", "price": [price], "store": [], "rate": []})

    [read] = parse(written).prices
    assert read.nanodollars_per_hour == usd * 10**9  # type: ignore[operator]
    assert read.effective_from == moment
    assert (read.source, read.sku, read.is_example) == (source, sku, is_example)
    assert read.source_date == source_date
