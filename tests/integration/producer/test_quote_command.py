"""``tenstep quote`` and the quote of a submission, as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import update

from producer.quote_batch import without_reused
from shared.clock import utc_now
from shared.db.cost_tables import DeclaredRate, Price
from shared.db.engine import Database
from shared.db.fleet import mark_stopped
from shared.db.migrate import migrate
from shared.db.rates import record_rates
from shared.db.tables import Batch, Job, Worker
from shared.domain.rates import Measured, Shape
from shared.settings import Settings
from support.factories import add_worker
from support.shell import Shell

MODEL = "emoji-64"
SHAPE = Shape(64, 64, 10, is_guided=True)
SECOND = 10**9
CPU_PRICE = 76_500_000
"""Of the example that comes with tenstep: an hour of a cpu."""

AddRate = Callable[..., UUID]


@pytest.fixture
def books(shell: Shell) -> Iterator[Database]:
    """The database that the shell's commands use."""
    database = Database(Settings().resolved_database_url)
    migrate(database)
    yield database
    database.close()


@pytest.fixture
def add_rate(books: Database) -> AddRate:
    """Let a worker have drawn images of a second each; it has stopped unless it is to live."""

    def add(*, kind: str = "cpu", sku: str = "", images: int = 100, is_alive: bool = False) -> UUID:
        with books.write() as session:
            now = utc_now()
            worker = add_worker(session, device_kind=kind, sku=sku, started_at=now)
            worker.model = MODEL
            worker.load_ns = 5 * SECOND
            measured = Measured(images, images * SECOND, images * 1_000_000, images * 2 * SECOND)
            record_rates(session, worker.id, worker.model, {SHAPE: measured}, now)
            if not is_alive:
                mark_stopped(session, worker.id, now + timedelta(seconds=1))
            return worker.id

    return add


@pytest.fixture
def file() -> str:
    lines = [json.dumps({"prompt": f"prompt {number}", "n": 2}) for number in range(30)]
    Path("p.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return "p.jsonl"


def batch_of(books: Database, batch_id: str) -> Batch:
    with books.read() as session:
        return session.get_one(Batch, UUID(batch_id))


def test_without_any_rate_it_says_so_and_what_to_do(shell: Shell, file: str) -> None:
    assert shell("quote", file) == 1

    assert "nothing is known yet of how long images of emoji-64 take" in shell.err
    assert "tenstep calibrate" in shell.err
    assert not Path("data").exists(), "looking makes no database"


def test_a_quote_is_for_each_device_that_was_measured(
    shell: Shell, add_rate: AddRate, file: str
) -> None:
    add_rate()
    add_rate(kind="cuda", sku="g5.xlarge")

    document = shell.json("quote", file)

    assert (document["images"], document["model"]) == (60, MODEL)
    assert document["shapes"] == [{**SHAPE._asdict(), "images": 60}]
    cpu, cuda = document["quotes"]
    assert (cpu["fleet"], cuda["fleet"]) == ("1 x cpu", "1 x cuda g5.xlarge")
    assert cpu["device_ns"]["expected"] == 65 * SECOND
    assert cpu["cost_nanodollars"]["expected"] == pytest.approx(65 * CPU_PRICE / 3600, rel=1e-6)
    assert cpu["cost_nanodollars"]["low"] < cpu["cost_nanodollars"]["expected"]
    assert cpu["cost_nanodollars"]["high"] > cpu["cost_nanodollars"]["expected"]
    assert cpu["finish_ns"]["expected"] == pytest.approx(125 * SECOND, rel=1e-6)
    assert (cpu["basis"], cpu["measured_images"]) == ("measured", 100)


def test_the_workers_that_are_alive_are_quoted_first(
    shell: Shell, add_rate: AddRate, file: str
) -> None:
    for _ in range(2):
        add_rate(is_alive=True)

    [live, _] = shell.json("quote", file)["quotes"]

    assert (live["origin"], live["fleet"]) == ("live", "2 x cpu")


@pytest.mark.parametrize(
    ("options", "fleet"),
    [
        (["--workers", "3"], "3 x cpu"),
        (["--fleet", "cuda:g5.xlarge=4,cpu=2"], "4 x cuda g5.xlarge, 2 x cpu"),
    ],
)
def test_a_fleet_can_be_asked_for(
    shell: Shell, add_rate: AddRate, file: str, options: list[str], fleet: str
) -> None:
    add_rate(is_alive=True)
    add_rate(kind="cuda", sku="g5.xlarge")

    quotes = shell.json("quote", file, *options)["quotes"]

    assert (quotes[0]["origin"], quotes[0]["fleet"]) == ("asked", fleet)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--fleet", "cpu"], "--fleet: 'cpu' is not KIND=N, nor KIND:SKU=N"),
        (["--fleet", "cpu=0"], "--fleet: 'cpu=0' is not KIND=N, nor KIND:SKU=N"),
        (["--fleet", "cpu=1,cpu=2"], "--fleet: cpu is given twice"),
        (["--fleet", "cpu=1", "--workers", "2"], "give --workers or --fleet, not both"),
        (["--steps", "4"], "keeps 6 of only 4 steps"),
    ],
)
def test_what_makes_no_sense_is_refused(
    shell: Shell, add_rate: AddRate, file: str, options: list[str], complaint: str
) -> None:
    add_rate()

    code = shell("quote", file, *options, *(["--squeeze", "10,6"] if "--steps" in options else []))

    assert code == 2
    assert complaint in shell.err


def test_a_fleet_whose_rate_is_not_known_is_not_guessed_from_another_device(
    shell: Shell, add_rate: AddRate, file: str
) -> None:
    add_rate()

    assert shell("quote", file, "--fleet", "cuda:g5.xlarge=1") == 1

    assert "on device kind 'cuda', SKU 'g5.xlarge'" in shell.err


def test_bad_lines_are_listed_and_the_good_ones_quoted(shell: Shell, add_rate: AddRate) -> None:
    add_rate()
    lines = ['{"prompt": "a cat"}', '{"prompt": 7}', '{"prompt": "x", "width": 65}', "{"]
    Path("p.jsonl").write_text("\n".join(lines) + "\n", "utf-8")

    assert shell("quote", "p.jsonl") == 2
    assert "1 image of emoji-64" in shell.out
    assert "p.jsonl:2: prompt: " in shell.err
    assert "p.jsonl:3: width: " in shell.err
    assert "3 lines are bad and not in the quote" in shell.err

    assert shell("quote", "p.jsonl", "--json") == 2
    document = json.loads(shell.out)
    assert document["images"] == 1
    assert document["rejected"]["count"] == 3
    assert not Path("data/rejects").exists(), "nothing is written"


def test_a_file_without_a_good_line_has_no_quote(shell: Shell, add_rate: AddRate) -> None:
    add_rate()
    Path("p.jsonl").write_text("{\n", "utf-8")

    assert shell("quote", "p.jsonl") == 2

    assert "no line of it can be drawn" in shell.err


def test_a_missing_price_is_an_error_and_not_zero(
    shell: Shell, books: Database, add_rate: AddRate, file: str
) -> None:
    add_rate()
    with books.write() as session:
        for price in session.query(Price).where(Price.device_kind == "cpu"):
            session.delete(price)

    assert shell("quote", file) == 2

    assert "no price is set for device kind 'cpu'" in shell.err
    assert not shell.out


def test_a_guess_is_called_a_guess(shell: Shell, add_rate: AddRate, file: str) -> None:
    add_rate()

    assert shell("quote", file, "--width", "128", "--height", "128") == 0
    assert "a GUESS, scaled from 100 images of other shapes" in shell.out

    [quote] = shell.json("quote", file, "--width", "128", "--height", "128")["quotes"]
    assert (quote["basis"], quote["guessed_images"]) == ("guess", 60)
    assert quote["render_nanodollars"]["expected"] == pytest.approx(
        60 * 4 * CPU_PRICE / 3600, rel=1e-6
    )
    assert quote["render_nanodollars"]["high"] >= 2 * quote["render_nanodollars"]["expected"] - 1


def test_a_declared_rate_is_called_declared(shell: Shell, books: Database, file: str) -> None:
    with books.write() as session:
        session.add(
            DeclaredRate(
                device_kind="qaic",
                sku="",
                model=MODEL,
                **{name: getattr(SHAPE, name) for name in ("width", "height", "iterations")},
                device_ns=SECOND,
                load_ns=0,
                source="a data sheet",
            )
        )

    assert shell("quote", file) == 0

    assert "declared by somebody, not measured" in shell.out


def test_a_quote_reads_at_eighty_columns(shell: Shell, add_rate: AddRate, file: str) -> None:
    add_rate()

    assert shell("quote", file, "--fleet", "cpu=12") == 0

    assert "60 images of emoji-64" in shell.out
    assert "an example price that came with tenstep" in shell.out
    assert "measured on 100 images" in shell.out
    assert max(map(len, shell.out.splitlines())) <= 80


def test_a_submitted_batch_keeps_what_it_was_expected_to_cost(
    shell: Shell, books: Database, add_rate: AddRate, file: str
) -> None:
    add_rate()
    add_rate(kind="cuda", sku="g5.xlarge")

    submitted = shell.json("submit", file)
    again = shell.json("submit", file)

    quote = batch_of(books, submitted["batch_id"]).quote
    assert quote == submitted["quote"] == again["quote"]
    assert quote["device"] == "1 x cpu", "the cheapest"
    assert quote["images"] == 60
    assert quote["nanodollars_expected"] == pytest.approx(65 * CPU_PRICE / 3600, rel=1e-6)
    assert quote["nanodollars_low"] < quote["nanodollars_expected"] < quote["nanodollars_high"]
    assert (quote["basis"], quote["measured_images"]) == ("measured", 100)


def test_a_batch_is_quoted_for_the_workers_that_are_alive(
    shell: Shell, books: Database, add_rate: AddRate, file: str
) -> None:
    add_rate()
    alive = add_rate(kind="cuda", sku="g5.xlarge", is_alive=True)
    with books.write() as session:
        session.execute(update(Worker).where(Worker.id == alive).values(last_claim_at=utc_now()))

    quote = shell.json("submit", file)["quote"]

    assert quote["device"] == "1 x cuda g5.xlarge"
    assert quote["nanodollars_expected"] == pytest.approx(60 * 1_006_000_000 / 3600, rel=1e-6), (
        "it has the model loaded"
    )


def test_without_a_rate_a_batch_has_no_quote(shell: Shell, books: Database, file: str) -> None:
    submitted = shell.json("submit", file)

    assert submitted["quote"] is None
    assert batch_of(books, submitted["batch_id"]).quote is None


def test_an_interrupted_submission_is_quoted_whole(
    shell: Shell, books: Database, add_rate: AddRate, file: str
) -> None:
    add_rate()
    batch_id = shell.json("submit", file, "--key", "k")["batch_id"]
    with books.write() as session:
        batch = session.get_one(Batch, UUID(batch_id))
        batch.submitted_at = batch.quote = None
        batch.total = 40
        session.query(Job).where(Job.batch_id == batch.id, Job.position >= 40).delete()

    resumed = shell.json("submit", file, "--key", "k")

    assert resumed["was_there"] == 40
    assert resumed["quote"]["images"] == 60


def test_images_that_are_reused_are_not_in_the_quote(
    shell: Shell, books: Database, add_rate: AddRate, file: str
) -> None:
    add_rate()
    batch_id = UUID(shell.json("submit", file)["batch_id"])
    with books.write() as session:
        jobs = session.query(Job).where(Job.batch_id == batch_id, Job.position < 15)
        jobs.update({"reused_from": batch_id})

        assert without_reused(session, batch_id, {SHAPE: 60}) == {SHAPE: 45}
        assert without_reused(session, batch_id, {SHAPE: 15}) == {}


def test_tags_and_a_budget_are_kept_with_the_batch(
    shell: Shell, books: Database, file: str
) -> None:
    submitted = shell.json(
        "submit", file, "--tag", "campaign=spring", "--tag", "team=a=b", "--max-cost", "12.5"
    )

    batch = batch_of(books, submitted["batch_id"])
    assert batch.tags == {"campaign": "spring", "team": "a=b"}
    assert batch.max_nanodollars == 12_500_000_000


def test_neither_tags_nor_a_budget_make_it_another_batch(shell: Shell, file: str) -> None:
    first = shell.json("submit", file)
    second = shell.json("submit", file, "--tag", "campaign=spring", "--max-cost", "12.5")

    assert second["batch_id"] == first["batch_id"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--tag", "campaign"], "--tag campaign: is not KEY=VALUE"),
        (["--tag", "a=1", "--tag", "a=2"], "--tag a: is given twice"),
        (["--tag", "=1"], "key and value have 1 to 64 characters"),
        (["--tag", f"a={'x' * 65}"], "key and value have 1 to 64 characters"),
        (["--tag", "a=x\ty"], "tag 'a': holds a control character"),
        ([f"--tag=k{n}=v" for n in range(17)], "a batch has at most 16 tags, not 17"),
        (["--max-cost", "much"], "--max-cost: 'much' is not a number of dollars"),
        (["--max-cost", "-1"], "--max-cost: -1 is negative"),
    ],
)
@pytest.mark.parametrize("command", ["submit", "render"])
def test_bad_tags_and_budgets_are_refused(
    shell: Shell, file: str, command: str, options: list[str], complaint: str
) -> None:
    assert shell(command, file, *options) == 2

    assert complaint in shell.err
