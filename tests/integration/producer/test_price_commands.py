"""``tenstep prices``: what it shows, what it refuses, and that nothing is recorded then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.clock import utc_now
from shared.db.engine import Database
from shared.settings import Settings
from support.pricing import Fleet, assert_proved, corrections, rates_of
from support.shell import Shell

EXAMPLES = Path(__file__).parents[3] / "infra" / "examples" / "prices.toml"


@pytest.fixture
def opened(shell: Shell) -> Callable[[], Database]:
    """Open the database of the commands, which is there."""
    assert shell("migrate") == 0
    return lambda: Database(Settings().resolved_database_url)


def test_the_list_has_what_is_in_force_and_to_come_with_its_source(
    shell: Shell, opened: Callable[[], Database]
) -> None:
    assert shell("prices", "set", "cuda", "--sku", "g5.xlarge", "--usd-per-hour", "0.9") == 0
    later = ("--from", "2099-01-01", "--source", "a contract", "--source-date", "2026-11-20")
    assert shell("prices", "set", "cpu", "--usd-per-hour", "0.123456789", *later) == 0

    assert shell("prices") == 0
    lines = shell.out.splitlines()

    assert max(map(len, lines)) <= 80
    assert [line.split()[:3] for line in lines if line.startswith("cpu ")] == [
        ["cpu", "0.0765", "2024-01-01"],
        ["cpu", "0.123456789", "2099-01-01"],
        ["cpu", "c6a.large", "0.0765"],
    ]
    [to_come] = [number for number, line in enumerate(lines) if "2099-01-01" in line]
    assert lines[to_come].endswith("to come")
    assert lines[to_come + 1] == "  a contract (2026-11-20)"
    assert sum(line.startswith("cuda g5.xlarge") for line in lines) == 1
    assert any(line.startswith("qaic ") and line.endswith(" example") for line in lines)
    assert shell("prices", "list", "--all") == 0
    of_sku = (line for line in shell.out.splitlines() if line.startswith("cuda g5.xlarge"))
    assert next(of_sku).endswith("past, example")


def test_programs_get_exact_amounts_and_moments(
    shell: Shell, opened: Callable[[], Database]
) -> None:
    since = ("--from", "2099-01-01T02:00+02:00", "--source-date", "2026-11-20")
    made = shell.json("prices", "set", "cpu", "--usd-per-hour", "0.123456789", *since)
    listed = shell.json("prices")

    assert made["changes"][0]["nanodollars_per_hour"] == 123_456_789
    [price] = [price for price in listed["prices"] if price["standing"] == "to come"]
    assert price["usd_per_hour"] == "0.123456789"
    assert price["nanodollars_per_hour"] == 123_456_789
    assert price["effective_from"] == "2099-01-01T00:00:00+00:00"
    assert price["source_date"] == "2026-11-20"
    assert not price["is_example"]
    assert listed == shell.json("prices", "list")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--usd-per-hour", "-1"], "--usd-per-hour: -1 is negative"),
        (["--usd-per-hour", "cheap"], "--usd-per-hour: 'cheap' is not a number of dollars"),
        (["--usd-per-hour", "1", "--currency", "EUR"], "tenstep keeps its books in US dollars"),
        (["--usd-per-hour", "1", "--from", "tomorrow"], "--from: 'tomorrow' is not a time"),
        (["--usd-per-hour", "1", "--source-date", "now"], "--source-date: 'now' is not a date"),
        (["--usd-per-hour", "1", "--sku", "a" * 65], "--sku: must have at most 64 characters"),
        (["--usd-per-hour", "1", "--source", ""], "--source: must have at least 1 character"),
        ([], "Missing option '--usd-per-hour'"),
    ],
)
def test_a_bad_option_is_named_and_nothing_is_recorded(
    shell: Shell, opened: Callable[[], Database], arguments: list[str], complaint: str
) -> None:
    assert shell("prices", "set", "cpu", *arguments) == 2

    assert complaint in shell.err
    assert shell.out == ""
    database = opened()
    assert len(rates_of(database)) == 1
    database.close()


def test_an_unknown_kind_of_device_is_refused(shell: Shell) -> None:
    assert shell("prices", "set", "tpu", "--usd-per-hour", "1") == 2
    assert "'cpu', 'cuda', 'qaic', 'simulated'" in shell.err


def test_a_correction_is_told_and_the_refusal_before_it(
    shell: Shell, opened: Callable[[], Database], tmp_path: Path
) -> None:
    database = opened()
    fleet = Fleet(database, tmp_path / "objects", utc_now())
    fleet.stop()
    began = fleet.began.isoformat()

    assert shell("prices", "set", "cpu", "--usd-per-hour", "7", "--from", began) == 2
    assert "4 entries and the idle time of 1 worker were priced from" in shell.err
    assert "Say --correct" in shell.err
    assert shell("prices", "set", "cpu", "--usd-per-hour", "7", "--from", began, "--correct") == 0
    assert shell.out.endswith(
        "corrected: 4 entries and the idle time of 1 worker, $3.461750000 more in all\n"
    )
    assert_proved(database)
    database.close()


def test_the_examples_that_ship_are_in_the_book_already(shell: Shell) -> None:
    loaded = shell.json("prices", "load", str(EXAMPLES))

    assert len(loaded["changes"]) == 6
    assert not any(change["is_new"] for change in loaded["changes"])
    assert (shell("prices", "load", str(EXAMPLES)), shell.out) == (
        0,
        "6 are in the book already\n",
    )


def test_the_commented_examples_can_be_loaded(shell: Shell, tmp_path: Path) -> None:
    lines = EXAMPLES.read_text("utf-8").splitlines()
    tables = [number for number, line in enumerate(lines) if line.startswith("# [[")]
    for first in tables:
        for number in range(first, len(lines)):
            if lines[number] in {"", "#"}:
                break
            lines[number] = lines[number].removeprefix("# ")
    path = tmp_path / "all.toml"
    path.write_text("\n".join(lines), "utf-8")

    loaded = shell.json("prices", "load", str(path))

    assert [change["table"] for change in loaded["changes"] if change["is_new"]] == [
        "store 1",
        "rate 1",
    ]
    assert shell("prices") == 0
    assert "a GiB and month" in shell.out
    assert "declared, not measured" in shell.out
    assert max(map(len, shell.out.splitlines())) <= 80


def test_a_bad_file_is_listed_line_by_line_and_nothing_is_recorded(
    shell: Shell, opened: Callable[[], Database]
) -> None:
    Path("prices.toml").write_text(
        '[[price]]\nkind = "cuda"\nsku = "new"\nusd_per_hour = "1"\nsource = "a bill"\n'
        '[[price]]\nkind = "cuda"\nsource = "a bill"\nusd_per_hour = -1\n'
        '[[price]]\nkind = "tpu"\nusd_per_hour = 1\nsource = "a bill"\n',
        "utf-8",
    )

    assert shell("prices", "load", "prices.toml") == 2

    assert shell.err.splitlines() == [
        "error: prices.toml: price 2: usd_per_hour: -1 is negative",
        "prices.toml: price 3: kind: must be 'cpu', 'cuda', 'qaic' or 'simulated'",
        "  Nothing was recorded.",
    ]
    assert shell("prices", "load", "prices.toml", "--json") == 2
    assert json.loads(shell.err)["error"]["exit_code"] == 2
    database = opened()
    assert rates_of(database, "cuda", "new") == []
    database.close()


def test_a_check_tells_what_a_load_then_does(
    shell: Shell, opened: Callable[[], Database], tmp_path: Path
) -> None:
    database = opened()
    fleet = Fleet(database, tmp_path / "objects", utc_now())
    Path("prices.toml").write_text(
        f'[[price]]\nkind = "cpu"\nusd_per_hour = "7"\nsource = "a bill"\nfrom = {fleet.began}\n',
        "utf-8",
    )

    assert shell("prices", "load", "prices.toml", "--check") == 2
    assert "prices.toml: price 1: from: 4 entries were priced from" in shell.err
    assert shell("prices", "load", "prices.toml", "--check", "--correct") == 0
    assert "would be recorded: cpu: $7.00 an hour from" in shell.out
    assert "4 entries were priced by then, and would be corrected" in " ".join(shell.out.split())
    assert len(rates_of(database)) == 1
    assert shell("prices", "load", "prices.toml", "--correct") == 0
    assert corrections(database) == 4
    assert shell("prices", "load", "prices.toml") == 0
    assert shell.out.startswith("in the book already: cpu: $7.00 an hour from")
    assert_proved(database)
    database.close()


def test_what_is_exported_can_be_loaded_and_changes_nothing(shell: Shell) -> None:
    assert shell("prices", "load", str(EXAMPLES)) == 0
    odd = 'a "bill" of \\ Zürich'
    assert shell("prices", "set", "cpu", "--usd-per-hour", "0.000000001", "--source", odd) == 0
    assert shell("prices", "export") == 0
    exported = shell.out
    Path("exported.toml").write_text(exported, "utf-8")

    loaded = shell.json("prices", "load", "exported.toml")

    assert len(loaded["changes"]) == 10
    assert not any(change["is_new"] for change in loaded["changes"])
    assert shell("prices", "export") == 0
    assert shell.out == exported
    document = shell.json("prices", "export")
    assert document["currency"] == "USD"
    assert {"kind": "cpu", "usd_per_hour": "0.000000001", "source": odd}.items() <= document[
        "price"
    ][1].items()


def test_a_book_moves_to_another_database_whole(shell: Shell, tmp_path: Path) -> None:
    assert shell("prices", "set", "qaic", "--sku", "mine", "--usd-per-hour", "2.5") == 0
    assert shell("prices", "export") == 0
    exported = shell.out
    Path("exported.toml").write_text(exported, "utf-8")
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setenv("TENSTEP_DATA_DIR", str(tmp_path / "elsewhere"))
        loaded = shell.json("prices", "load", "exported.toml")
        assert [change["sku"] for change in loaded["changes"] if change["is_new"]] == ["mine"]
        assert shell("prices", "export") == 0
        assert shell.out == exported


def test_looking_at_prices_leaves_no_database_where_there_was_none(shell: Shell) -> None:
    assert shell("prices") == 2
    assert not Path("data").exists()


def test_options_before_a_command_are_not_ignored(shell: Shell) -> None:
    assert shell("prices", "--all", "export") == 2
    assert "after the word export" in shell.err


@pytest.mark.parametrize("command", ["list", "set", "load", "export"])
def test_every_command_has_an_example(shell: Shell, command: str) -> None:
    assert shell("prices", command, "--help") == 0
    assert f"Example: tenstep prices {command}" in shell.out
    assert max(map(len, shell.out.splitlines())) <= 80
