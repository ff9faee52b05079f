"""``tenstep prices``: what is set holds from its moment on, and the books agree with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select

from producer.price_book import Standing, read_book
from producer.price_changes import Update, update_book
from producer.price_file import PriceFile, PriceTable, parse_price_file
from producer.reconcile.proof import prove
from shared.clock import utc_now
from shared.db.cost_tables import DeclaredRate, LedgerEntry, Price, StoreRate
from shared.db.engine import Database
from shared.db.fleet import mark_stopped
from shared.db.leases import claim_chunk
from shared.db.prices import price_in_force
from shared.db.storage_costs import book_storage
from shared.db.tables import Attempt
from shared.domain.jobs import LedgerKind
from shared.errors import InputError
from shared.settings import Settings
from shared.storage.folder import FolderStore
from support.drawing import Drawer
from support.factories import LEASE, add_batch, add_worker, dispatch
from support.shell import Shell

EXAMPLES = Path(__file__).parents[3] / "infra" / "examples" / "prices.toml"
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def price_of(usd: str, begin: datetime | None = None, **fields: object) -> PriceTable:
    since = {"from": begin} if begin else {}
    table = {"kind": "cpu", "usd_per_hour": usd, "source": "a test", **since, **fields}
    return PriceTable.model_validate(table)


def put(database: Database, *prices: PriceTable, corrects: bool = False) -> Update:
    return update_book(database, PriceFile(prices=prices), corrects=corrects)


def rates_of(database: Database, kind: str = "cpu", sku: str = "") -> Sequence[int]:
    with database.read() as session:
        return session.scalars(
            select(Price.nanodollars_per_hour)
            .where(Price.device_kind == kind, Price.sku == sku)
            .order_by(Price.effective_from)
        ).all()


def corrections(database: Database) -> int:
    with database.read() as session:
        of_kind = LedgerEntry.kind == LedgerKind.CORRECTION
        return session.scalar(select(func.count()).where(of_kind)) or 0


def assert_proved(database: Database) -> None:
    with database.snapshot() as session:
        proof = prove(session)
    assert proof.holds, [finding.examples for finding in proof.findings if finding.differences]


class Fleet:
    """A worker that drew four images, an hour ago."""

    def __init__(self, database: Database, folder: Path, now: datetime) -> None:
        self.database = database
        self.began = now - HOUR
        self.drawer = Drawer(database, FolderStore(folder), now=self.began)
        with database.write() as session:
            self.batch_id = add_batch(session, jobs=8, created_at=self.began).id
        self.drawer.now += MINUTE
        self.drawer.draw(self.batch_id, 4)

    def stop(self) -> None:
        with self.database.write() as session:
            mark_stopped(session, self.drawer.worker_id, self.began + HOUR / 2)


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Fleet:
    return Fleet(database, tmp_path / "objects", utc_now())


# The book


def test_a_price_holds_from_now_on_and_not_for_what_was_claimed_before(
    database: Database, fleet: Fleet
) -> None:
    with database.read() as session:
        before = session.scalars(select(Attempt.nanodollars_per_hour)).all()

    put(database, price_of("7"))
    fleet.drawer.now = utc_now() + MINUTE
    fleet.drawer.draw(fleet.batch_id)

    with database.read() as session:
        by_claim = select(Attempt.nanodollars_per_hour).order_by(Attempt.claimed_at, Attempt.id)
        assert session.scalars(by_claim).all() == [*before, *[7_000_000_000] * 4]
    assert corrections(database) == 0


def test_a_price_that_would_change_what_is_booked_is_refused(
    database: Database, fleet: Fleet
) -> None:
    fleet.stop()
    before = rates_of(database)

    with pytest.raises(InputError, match=r"--from: 4 entries and the idle time of 1 worker") as no:
        put(database, price_of("7", fleet.began))

    assert no.value.exit_code == 2
    assert "--correct" in (no.value.hint or "")
    assert rates_of(database) == before
    assert corrections(database) == 0


def test_a_price_that_is_corrected_for_leaves_books_that_add_up(
    database: Database, fleet: Fleet
) -> None:
    fleet.stop()
    assert_proved(database)

    update = put(database, price_of("7", fleet.began), corrects=True)

    assert (update.corrected.entries, update.corrected.workers) == (4, 1)
    assert update.corrected.nanodollars == 3_500_000_000 - 76_500_000 // 2
    assert corrections(database) == 5
    assert_proved(database)


def test_several_prices_of_the_past_are_corrected_for_once(
    database: Database, fleet: Fleet
) -> None:
    fleet.stop()

    update = put(
        database,
        price_of("1", fleet.began - HOUR),
        price_of("3", fleet.began + 20 * MINUTE),
        price_of("2", fleet.began),
        corrects=True,
    )

    # Twenty minutes at two dollars, and ten at three.
    assert update.corrected.nanodollars == 666_666_667 + 500_000_000 - 76_500_000 // 2
    assert update.corrected.entries == 4
    assert_proved(database)


def test_a_price_of_the_past_that_nothing_was_priced_at_needs_no_correction(
    database: Database, fleet: Fleet
) -> None:
    fleet.stop()

    put(database, price_of("7", fleet.began + HOUR / 2))
    put(database, price_of("7", fleet.began, sku="another"))

    assert corrections(database) == 0
    assert_proved(database)


def test_a_price_from_before_images_that_are_being_drawn_is_refused(
    database: Database, fleet: Fleet
) -> None:
    fleet.drawer.claim(fleet.batch_id, 2)
    before = rates_of(database)

    with pytest.raises(InputError, match=r"2 images are being drawn at the price before") as no:
        put(database, price_of("7", fleet.began), corrects=True)

    assert "tenstep pause" in (no.value.hint or "")
    assert rates_of(database) == before


def test_the_same_price_again_changes_nothing_and_another_is_refused(database: Database) -> None:
    moment = datetime(2027, 1, 1, tzinfo=UTC)
    [first] = put(database, price_of("0.05", moment)).changes
    [again] = put(database, price_of("0.050", moment, source="elsewhere")).changes
    [now] = put(database, price_of("0.06")).changes
    [still] = put(database, price_of("0.06")).changes

    assert [change.is_new for change in (first, again, now, still)] == [True, False, True, False]
    with pytest.raises(InputError, match=r"the book has \$0\.05 from 2027-01-01 on"):
        put(database, price_of("0.07", moment))
    assert rates_of(database)[-2:] == [60_000_000, 50_000_000]


def test_a_price_in_force_that_is_no_example_any_more_is_recorded(database: Database) -> None:
    [change] = put(database, price_of("0.0765")).changes

    assert change.is_new
    with database.read() as session:
        book = read_book(session, database.now(session))
    [in_force] = [
        price
        for price, at in book.prices
        if (price.device_kind, price.sku, at) == ("cpu", "", Standing.IN_FORCE)
    ]
    assert not in_force.is_example


def test_a_file_with_one_contradiction_records_nothing(database: Database) -> None:
    text = """
    [[price]]
    kind = "cuda"
    sku = "new"
    usd_per_hour = 1
    source = "a test"
    [[price]]
    kind = "cuda"
    sku = "g5.xlarge"
    usd_per_hour = 9
    from = 2024-01-01
    source = "a test"
    """
    file = parse_price_file(text.encode(), "p.toml")

    with pytest.raises(InputError) as caught:
        update_book(database, file, name="p.toml")

    assert caught.value.message == "p.toml: price 2: from: the book has $1.006 from 2024-01-01 on"
    assert rates_of(database, "cuda", "new") == []


def test_store_rates_and_declared_rates_are_recorded_once(database: Database) -> None:
    text = """
    [[store]]
    usd_per_gib_month = "0.023"
    usd_per_thousand_requests = "0.005"
    from = 2027-01-01
    source = "a test"
    [[rate]]
    kind = "qaic"
    model = "emoji-64"
    width = 64
    height = 64
    iterations = 10
    seconds_per_image = SECONDS
    load_seconds = 3
    source = "a guess"
    """
    guesses = [parse_price_file(text.replace("SECONDS", s).encode(), "p") for s in ("0.5", "0.25")]

    news = [
        [change.is_new for change in update_book(database, file, name="p").changes]
        for file in (guesses[0], guesses[0], guesses[1])
    ]

    assert news == [[True, True], [False, False], [False, True]]
    with database.read() as session:
        store = session.scalars(select(StoreRate)).one()
        rate = session.scalars(select(DeclaredRate)).one()
    assert store.nanodollars_per_gib_month == 23_000_000
    assert store.nanodollars_per_thousand_requests == 5_000_000
    assert (rate.device_ns, rate.load_ns) == (250_000_000, 3_000_000_000)


def test_a_store_rate_for_days_that_are_booked_is_refused(database: Database, fleet: Fleet) -> None:
    text = """
    [[store]]
    usd_per_gib_month = "AMOUNT"
    usd_per_thousand_requests = "0.005"
    from = 2026-01-0DAY
    source = "a test"
    """
    files = [
        parse_price_file(text.replace("AMOUNT", amount).replace("DAY", day).encode(), "p")
        for amount, day in (("1", "1"), ("2", "2"))
    ]
    update_book(database, files[0], name="p")
    with database.write() as session:
        book_storage(session, utc_now().date())

    with pytest.raises(InputError, match=r"p: store 1: from: storage from 2026-01-02 on is booked"):
        update_book(database, files[1], name="p")


def test_every_claim_is_priced_as_the_book_says_while_prices_are_set(database: Database) -> None:
    with database.write() as session:
        workers = [add_worker(session, started_at=utc_now()).id for _ in range(3)]
        batches = [add_batch(session, jobs=12).id for _ in workers]

    def claim(worker_id: UUID, batch_id: UUID) -> None:
        for _ in range(12):
            with database.write() as session:
                chunk_id = dispatch(session, batch_id, jobs=1)
            with database.write() as session:
                now = database.now(session)
                assert claim_chunk(session, chunk_id, worker_id, now, LEASE)

    def set_prices() -> None:
        for dollars in range(1, 13):
            put(database, price_of(str(dollars)))

    with ThreadPoolExecutor() as threads:
        tasks = [
            threads.submit(set_prices),
            *(
                threads.submit(claim, worker, batch)
                for worker, batch in zip(workers, batches, strict=True)
            ),
        ]
        for task in tasks:
            task.result()

    with database.read() as session:
        attempts = session.scalars(select(Attempt)).all()
        assert len(attempts) == 36
        for attempt in attempts:
            rate = price_in_force(session, "cpu", "", attempt.claimed_at)
            assert attempt.nanodollars_per_hour == rate


# The commands


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
