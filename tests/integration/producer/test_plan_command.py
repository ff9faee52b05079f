"""``tenstep plan``: what to hire for the prompts of a file, from the price book."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from producer.plan_offers import NothingOnOfferError, Terms, read_offers
from producer.planning.offers import Offer, Work
from shared.db.cost_tables import DeclaredRate, MeasuredRate
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.domain.rates import Basis, Shape
from shared.errors import InputError
from shared.settings import Settings
from support.factories import START, add_price, add_worker
from support.shell import Shell

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SHAPE = Shape(64, 64, 10, is_guided=True)
TALL = Shape(64, 128, 10, is_guided=True)
WORK = Work({SHAPE: 1_000}, chunk_size=8)
TERMS = Terms(start_up_ns=0)


def declare(database: Database, kind: str, sku: str, *, seconds: int, price: int | None) -> None:
    """Say how fast a device draws emoji-64, and what it costs an hour, if that is known."""
    with database.write() as session:
        session.add(
            DeclaredRate(
                device_kind=kind,
                sku=sku,
                model="emoji-64",
                width=64,
                height=64,
                iterations=10,
                device_ns=seconds * SECOND,
                load_ns=10 * SECOND,
                source="a test",
            )
        )
        if price is not None:
            add_price(
                session,
                device_kind=kind,
                sku=sku,
                nanodollars_per_hour=price,
                effective_from=LONG_AGO,
            )


def measure(database: Database, shape: Shape, *, wall_ns: int) -> None:
    """Let a worker of the kind cuda, SKU g5, have drawn a hundred images."""
    with database.write() as session:
        worker = add_worker(session, device_kind="cuda", sku="g5")
        worker.model = "emoji-64"
        session.add(
            MeasuredRate(
                worker_id=worker.id,
                model=worker.model,
                **shape._asdict(),
                images=100,
                device_ns=100 * wall_ns,
                device_ms_squared=0,
                wall_ns=100 * wall_ns,
                updated_at=START,
            )
        )


def offers(database: Database, work: Work = WORK, terms: Terms = TERMS) -> dict[str, Offer]:
    with database.read() as session:
        found = read_offers(session, "emoji-64", work, terms, START).offers
    return {offer.name: offer for offer in found}


def test_what_has_a_price_and_a_rate_is_on_offer_and_what_has_none_is_named(
    database: Database,
) -> None:
    declare(database, "cuda", "g5", seconds=1, price=10**9)
    declare(database, "cuda", "unpriced", seconds=1, price=None)
    with database.read() as session:
        found = read_offers(session, "emoji-64", WORK, TERMS, START)

    [offer] = found.offers
    assert (offer.name, offer.nanodollars_per_hour) == ("cuda g5", 10**9)
    assert (offer.image_ns, offer.load_ns) == ({SHAPE: SECOND}, 10 * SECOND)
    assert offer.basis is Basis.DECLARED
    left = {(left.device_kind, left.sku): left.reason for left in found.left_out}
    assert "tenstep calibrate, or a [[rate]] in the price file" in left["cpu", ""]
    assert ("cuda", "unpriced") not in left


def test_what_was_measured_goes_before_what_was_declared_and_another_shape_is_a_guess(
    database: Database,
) -> None:
    declare(database, "cuda", "g5", seconds=9, price=10**9)
    measure(database, SHAPE, wall_ns=2 * SECOND)

    assert offers(database)["cuda g5"].basis is Basis.MEASURED
    assert offers(database)["cuda g5"].image_ns == {SHAPE: 2 * SECOND}
    guess = offers(database, Work({SHAPE: 5, TALL: 5}, 8))["cuda g5"]
    assert guess.basis is Basis.GUESS
    assert guess.image_ns == {SHAPE: 2 * SECOND, TALL: 4 * SECOND}
    assert guess.late_image_ns[TALL] > guess.image_ns[TALL]


def test_the_price_in_force_counts(database: Database) -> None:
    declare(database, "cuda", "g5", seconds=1, price=10**9)
    with database.write() as session:
        for price, days in ((2 * 10**9, -1), (3 * 10**9, 1)):
            add_price(
                session,
                device_kind="cuda",
                sku="g5",
                nanodollars_per_hour=price,
                effective_from=START + timedelta(days=days),
            )

    assert offers(database)["cuda g5"].nanodollars_per_hour == 2 * 10**9


def test_what_is_free_needs_a_limit(database: Database) -> None:
    declare(database, "cuda", "own", seconds=1, price=0)

    with pytest.raises(NothingOnOfferError, match="say with --limit how many there are"):
        offers(database)
    limited = offers(database, terms=Terms(start_up_ns=0, limits={"own": 3}))
    assert limited["cuda own"].most == 3


def test_a_name_is_a_sku_or_a_kind_and_a_sku_and_must_be_clear(database: Database) -> None:
    declare(database, "cuda", "g5", seconds=1, price=10**9)
    declare(database, "cpu", "g5", seconds=50, price=10**9)

    def limited(name: str) -> dict[str, int | None]:
        found = offers(database, terms=Terms(start_up_ns=0, limits={name: 3}))
        return {name: offer.most for name, offer in found.items()}

    assert limited("cuda:g5") == {"cpu g5": None, "cuda g5": 3}
    with pytest.raises(InputError, match="--limit g5: is more than one device: cpu:g5, cuda:g5"):
        limited("g5")
    with pytest.raises(InputError, match="--limit nothing: no such device has a price"):
        limited("nothing")
    assert set(offers(database, terms=Terms(0, only=["cuda"]))) == {"cuda g5"}


# The command


@pytest.fixture
def book(shell: Shell, tmp_path: Path) -> Iterator[Database]:
    """A price book with a fast and a slow device, and a file of 720 prompts."""
    Path("p.txt").write_text("a cat\n" * 720, "utf-8")
    settings = Settings()
    settings.data_dir.mkdir()
    database = Database(settings.resolved_database_url)
    migrate(database)
    declare(database, "cuda", "g5", seconds=10, price=1_000_000_000)
    declare(database, "cpu", "c6a", seconds=100, price=150_000_000)
    yield database
    database.close()


def hired(fleet: dict[str, Any]) -> dict[str, int]:
    return {part["sku"]: part["devices"] for part in fleet["hired"]}


def test_the_plan_names_devices_times_and_costs_that_add_up(shell: Shell, book: Database) -> None:
    plan = shell.json(*("plan", "p.txt", "--deadline", "1h", "--limit", "g5=2", "--start-up", "0s"))

    assert plan["possible"]
    assert plan["images"] == 720
    fleet = plan["fleet"]
    assert hired(fleet) == {"g5": 2, "c6a": 6}
    assert fleet["finish_ns"] <= HOUR
    assert sum(part["images"] for part in fleet["hired"]) == 720
    parts = [Decimal(part["cost_usd"]) for part in fleet["hired"]]
    assert sum(parts) == Decimal(fleet["cost_usd"])
    an_hour = sum(part["devices"] * Decimal(part["usd_per_hour"]) for part in fleet["hired"])
    assert Decimal(fleet["cost_usd"]) == pytest.approx(an_hour * fleet["finish_ns"] / HOUR)
    assert [hired(fleet) for fleet in plan["single_kind"]] == [{"c6a": 26}]
    assert fleet in plan["frontier"]
    assert {offer["rate"] for offer in plan["offers"]} == {"declared"}
    assert {"cpu", "cuda"} <= {left["device_kind"] for left in plan["not_considered"]}


def test_the_table_is_read_at_80_columns(shell: Shell, book: Database) -> None:
    assert shell("plan", "p.txt", "--deadline", "1h", "--limit", "g5=2", "--start-up", "0s") == 0

    lines = shell.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "720 images of emoji-64"
    said = " ".join(shell.out.split())
    assert "2 x cuda g5 $1.0000 0.2" in said
    assert "6 x cpu c6a $0.1500 0.06" in said
    assert "after the start; started now, " in said
    assert "one kind 26 x cpu c6a" in said
    assert "declared: by somebody's word, not measured" in said
    assert "not considered: cpu, " in said


def test_example_prices_are_called_that(shell: Shell, book: Database) -> None:
    declare(book, "cuda", "", seconds=1, price=None)

    assert shell("plan", "p.txt", "--deadline", "1h", "--only", "cuda:") == 0
    assert "$1.0060*" in shell.out
    assert "* an example price that came with tenstep" in shell.out


def test_spot_is_cheaper_and_slower(shell: Shell, book: Database) -> None:
    arguments = ("plan", "p.txt", "--deadline", "1d", "--only", "g5")
    full = shell.json(*arguments)["fleet"]
    spot = shell.json(*arguments, "--spot", "0.5", "--interruptions-per-hour", "1")["fleet"]
    named = shell.json(*arguments, "--spot", "0.9", "--spot", "cuda:g5=0.5")["fleet"]

    assert spot["hired"][0]["usd_per_hour"] == named["hired"][0]["usd_per_hour"] == "0.500000000"
    assert spot["hired"][0]["spot"]
    assert spot["finish_ns"] > named["finish_ns"] > full["finish_ns"]
    assert Decimal(spot["cost_usd"]) < Decimal(full["cost_usd"])


def test_images_are_counted_as_a_submission_would(shell: Shell, book: Database) -> None:
    lines = [
        {"prompt": "a"},
        {"prompt": "b", "n": 3, "height": 128},
        {"prompt": "c", "steps": 20},
        {"prompt": "d", "width": 7},
        {"prompt": "e", "guidance_scale": 1},
    ]
    Path("p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")

    plan = shell.json("plan", "p.jsonl", "--deadline", "1d", "--n", "2")

    shapes = [
        (shape["height"], shape["iterations"], shape["is_guided"], shape["images"])
        for shape in plan["shapes"]
    ]
    assert sorted(shapes) == [
        (64, 10, False, 2),
        (64, 10, True, 2),
        (64, 20, True, 2),
        (128, 10, True, 3),
    ]
    assert plan["rejected"]["count"] == 1
    assert plan["rejected"]["first"][0]["line_number"] == 4
    assert not (Settings().data_dir / "rejects").exists(), "nothing is written"
    assert shell("plan", "p.jsonl", "--deadline", "1d") == 0
    assert "p.jsonl:4: width: " in shell.err
    assert "1 line is not planned for: bad" in shell.err


def test_a_template_is_planned_for(shell: Shell, book: Database) -> None:
    plan = shell.json(
        *("plan", "--template", "a {colour} cat", "--var", "colour=red,blue", "--deadline", "1d")
    )

    assert plan["images"] == 2


def test_a_deadline_that_none_can_keep_fails_and_says_what_could_be(
    shell: Shell, book: Database
) -> None:
    arguments = ("plan", "p.txt", "--deadline", "1h", "--only", "g5", "--limit", "g5=1")

    assert shell(*arguments) == 1
    assert "no fleet can draw that within 1 h; the soonest possible:" in shell.out
    assert "1 x cuda g5" in shell.out
    assert shell(*arguments, "--json") == 1
    plan = json.loads(shell.out)
    assert not plan["possible"]
    assert plan["fleet"] is None
    assert hired(plan["soonest"]) == {"g5": 1}
    assert plan["soonest"]["finish_ns"] == pytest.approx(7_390 * SECOND, abs=SECOND)


def test_a_budget_that_is_too_small_fails_and_says_what_it_buys(
    shell: Shell, book: Database
) -> None:
    arguments = ("plan", "p.txt", "--deadline", "15m", "--only", "g5")

    assert shell(*arguments, "--max-cost", "2.50") == 1
    said = " ".join(shell.out.split())
    assert "more than $2.50:" in said
    assert "within $2.50 at the soonest: " in said
    assert "no deadline at the cheapest: 1 x cuda g5: $2.05" in said
    assert shell(*arguments, "--max-cost", "1") == 1
    assert "$1.00 buys 341 of 720 images, on 1 x cuda g5 in 1 h" in " ".join(shell.out.split())
    assert shell(*arguments, "--max-cost", "3") == 0


def test_without_any_rate_it_says_what_to_do(shell: Shell, tmp_path: Path) -> None:
    Path("p.txt").write_text("a cat\n", "utf-8")

    assert shell("plan", "p.txt", "--deadline", "1h") == 1
    assert shell.err.startswith("error: no device has both a price and a rate for emoji-64")
    assert "tenstep calibrate" in shell.err
    assert not Settings().data_dir.exists(), "looking makes no database"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--deadline", "soon"], "--deadline: not a duration: 'soon'"),
        (["--deadline", "0h"], "--deadline: must be later than the start"),
        (["--deadline", "99999d"], "--deadline: 99999d is longer than ten years"),
        (["--max-cost", "-3"], "--max-cost: -3 is negative"),
        (["--max-cost", "much"], "--max-cost: 'much' is not a number of dollars"),
        (["--limit", "p9=3"], "--limit p9: no such device has a price"),
        (["--limit", "g5"], "--limit g5: is not SKU=NUMBER"),
        (["--limit", "g5=-1"], "--limit g5: '-1' is not a number of devices"),
        (["--limit", "g5=1", "--limit", "g5=2"], "--limit g5: is given twice"),
        (["--only", "tpu"], "--only tpu: no such device has a price"),
        (["--spot", "0"], "--spot: 0 is not above 0 and at most 1"),
        (["--spot", "1.5"], "--spot: 1.5 is not above 0 and at most 1"),
        (["--spot", "1e999999999"], "--spot: '1e999999999' is not a number"),
        (["--spot", "cheap"], "--spot: 'cheap' is not a number"),
        (["--spot", "0.3", "--spot", "0.4"], "--spot: is given twice for all devices"),
        (["--spot", "p9=0.3"], "--spot p9: no such device has a price"),
        (["--interruptions-per-hour", "1"], "--interruptions-per-hour goes with --spot"),
        (
            ["--spot", "0.3", "--interruptions-per-hour", "-1"],
            "--interruptions-per-hour: -1 is not 0 to 60",
        ),
        (["--start-up", "3"], "--start-up: not a duration: '3'"),
        (["--plot", "plan.pdf"], "--plot plan.pdf: a picture's name ends in .svg or .png"),
        (["--plot", "no/plan.svg"], "--plot no/plan.svg: there is no folder no"),
        (["--width", "7"], "--width: must be "),
        (["--squeeze", "10,20"], "squeeze n,i needs n > i > 0"),
    ],
)
def test_bad_options_are_named(
    shell: Shell, book: Database, arguments: list[str], complaint: str
) -> None:
    deadline = () if "--deadline" in arguments else ("--deadline", "1h")

    assert shell("plan", "p.txt", *deadline, *arguments) == 2
    assert shell.err.startswith(f"error: {complaint}")
    assert not shell.out


# The picture


def test_a_picture_in_svg_has_its_words_as_text(shell: Shell, book: Database) -> None:
    arguments = ("plan", "p.txt", "--deadline", "1h", "--max-cost", "5", "--plot", "plan.svg")
    assert shell(*arguments) == 0
    assert shell.out.endswith("picture: plan.svg\n")

    picture = Path("plan.svg").read_bytes()
    root = ET.fromstring(picture)  # noqa: S314 - our own
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "720 images of emoji-64" in texts
    assert "cost in US dollars" in texts
    assert "deadline, 1 h" in texts
    assert "max cost, $5.00" in texts
    assert "3 x cuda g5" in " ".join(text or "" for text in texts)

    assert shell(*arguments) == 0
    assert Path("plan.svg").read_bytes() == picture, "the same plan, the same file"
    assert shell(*arguments[:4], "--max-cost", "99", *arguments[-2:]) == 0
    assert "max cost, $99.00, out of sight above" in Path("plan.svg").read_text("utf-8")


def test_a_picture_in_png_is_one_even_if_the_deadline_cannot_be_kept(
    shell: Shell, book: Database
) -> None:
    assert shell("plan", "p.txt", "--deadline", "1m", "--plot", "plan.png") == 1

    with Image.open(BytesIO(Path("plan.png").read_bytes())) as picture:
        assert picture.format == "PNG"
        assert picture.size == (1_200, 900)


def test_a_picture_that_cannot_be_written_is_an_error(shell: Shell, book: Database) -> None:
    Path("plan.svg").mkdir()

    assert shell("plan", "p.txt", "--deadline", "1h", "--plot", "plan.svg") == 2
    assert shell.err.startswith("error: --plot plan.svg: ")
