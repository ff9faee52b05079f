"""``tenstep prices``: what is set holds from its moment on, and the books agree with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from producer.price_book import Standing, read_book
from producer.price_changes import Update, update_book
from producer.price_file import PriceFile, PriceTable, parse_price_file
from shared.clock import utc_now
from shared.db.claims import claim_chunk
from shared.db.cost_tables import DeclaredRate, StoreRate
from shared.db.engine import Database
from shared.db.prices import price_in_force
from shared.db.storage_costs import book_storage
from shared.db.tables import Attempt
from shared.errors import InputError
from support.factories import LEASE, add_batch, add_worker, dispatch
from support.pricing import Fleet, assert_proved, corrections, rates_of

EXAMPLES = Path(__file__).parents[3] / "infra" / "examples" / "prices.toml"
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def price_of(usd: str, begin: datetime | None = None, **fields: object) -> PriceTable:
    since = {"from": begin} if begin else {}
    table = {"kind": "cpu", "usd_per_hour": usd, "source": "a test", **since, **fields}
    return PriceTable.model_validate(table)


def put(database: Database, *prices: PriceTable, corrects: bool = False) -> Update:
    return update_book(database, PriceFile(prices=prices), corrects=corrects)


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
    moment = datetime(2099, 1, 1, tzinfo=UTC)
    [first] = put(database, price_of("0.05", moment)).changes
    [again] = put(database, price_of("0.050", moment, source="elsewhere")).changes
    [now] = put(database, price_of("0.06")).changes
    [still] = put(database, price_of("0.06")).changes

    assert [change.is_new for change in (first, again, now, still)] == [True, False, True, False]
    with pytest.raises(InputError, match=r"the book has \$0\.05 from 2099-01-01 on"):
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
