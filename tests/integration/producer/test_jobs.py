"""Pages of a batch's jobs: complete, in order, and by what they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import insert, update

from producer.jobs import POSITIONS_A_LOOK, JobFilter, JobPage, list_jobs, look_on
from shared.db.batches import cancel_job, retry_failed
from shared.db.engine import Database
from shared.db.tables import Batch, Job
from shared.domain.identifiers import new_id
from shared.domain.jobs import JobState
from shared.errors import InputError
from shared.storage.folder import FolderStore
from support.drawing import Drawer
from support.factories import START, add_batch, jobs_of

COST_OF_A_SECOND = 21_250
EVERY = JobFilter()


@pytest.fixture
def batch_id(database: Database) -> UUID:
    with database.write() as session:
        add_batch(session, jobs=4)
        return add_batch(session, jobs=12).id


@pytest.fixture
def drawer(database: Database, tmp_path: Path) -> Drawer:
    return Drawer(database, FolderStore(tmp_path / "objects"), now=START)


def page_of(
    database: Database,
    batch_id: UUID,
    only: JobFilter = EVERY,
    *,
    after: int | None = None,
    limit: int = 50,
) -> JobPage:
    with database.read() as session:
        return list_jobs(session, batch_id, only, after, limit)


def pages_of(
    database: Database, batch_id: UUID, only: JobFilter = EVERY, *, limit: int
) -> Iterator[JobPage]:
    after = None
    while True:
        page = page_of(database, batch_id, only, after=after, limit=limit)
        yield page
        if page.next is None:
            return
        after = page.next


def positions(page: JobPage) -> Sequence[int]:
    return [job.position for job in page.jobs]


def set_prompts(database: Database, batch_id: UUID, **prompts: str) -> None:
    """Give jobs other prompts: ``at_3="…"``."""
    with database.write() as session:
        for name, prompt in prompts.items():
            session.execute(
                update(Job)
                .where(Job.batch_id == batch_id, Job.position == int(name.removeprefix("at_")))
                .values(prompt=prompt)
            )


def add_many(database: Database, jobs: int) -> UUID:
    with database.write() as session:
        batch_id = add_batch(session, jobs=0).id
        session.execute(
            insert(Job),
            [
                {
                    "id": new_id(),
                    "batch_id": batch_id,
                    "position": position,
                    "prompt": "a photo",
                    "seed": position,
                    "width": 64,
                    "height": 64,
                    "steps": 10,
                    "guidance_scale": 7.5,
                    "guidance_rescale": 0.0,
                }
                for position in range(jobs)
            ],
        )
    return batch_id


@pytest.mark.parametrize("limit", [1, 5, 12, 13])
def test_pages_give_every_job_once_and_in_order_while_jobs_change(
    database: Database, batch_id: UUID, drawer: Drawer, limit: int
) -> None:
    seen: list[int] = []
    for page in pages_of(database, batch_id, limit=limit):
        seen += positions(page)
        drawer.draw(batch_id, 1)

    assert seen == list(range(12))


def test_a_line_tells_what_became_of_the_job(
    database: Database, batch_id: UUID, drawer: Drawer
) -> None:
    [first] = drawer.claim(batch_id, 1)
    drawer.fail(first, retry_after=START - START)
    drawer.draw(batch_id, 1)
    [second] = drawer.claim(batch_id, 1)
    drawer.fail(second, code="out_of_memory")
    done, failed, waiting, *_ = page_of(database, batch_id).jobs

    assert (done.state, done.attempts, done.error_code) == (JobState.DONE, 2, None)
    assert done.image_key is not None
    assert done.cost_nanodollars == 2 * COST_OF_A_SECOND
    assert (failed.state, failed.error_code, failed.image_key) == (
        JobState.FAILED,
        "out_of_memory",
        None,
    )
    assert (waiting.state, waiting.attempts, waiting.cost_nanodollars) == (JobState.PENDING, 0, 0)
    assert done.to_json()["cost_usd"] == "0.000042500"


def test_jobs_of_one_state(database: Database, batch_id: UUID, drawer: Drawer) -> None:
    drawer.draw(batch_id, 2)
    for held in drawer.claim(batch_id, 2):
        drawer.fail(held)
    drawer.claim(batch_id, 2)
    with database.write() as session:
        jobs = jobs_of(session, batch_id)
        cancel_job(session, jobs[6], START)
        held_back = Job.id.in_([jobs[8].id, jobs[10].id])
        session.execute(update(Job).where(held_back).values(state=JobState.HELD))

    wanted = {
        JobState.DONE: [0, 1],
        JobState.FAILED: [2, 3],
        JobState.LEASED: [4, 5],
        JobState.CANCELLED: [6],
        JobState.HELD: [8, 10],
        JobState.PENDING: [7, 9, 11],
    }
    for state, expected in wanted.items():
        only = JobFilter(state=state)
        assert positions(page_of(database, batch_id, only)) == expected, state
        one_by_one = [positions(page) for page in pages_of(database, batch_id, only, limit=1)]
        assert one_by_one == [[position] for position in expected], state


def test_failed_jobs_come_in_order_whatever_they_failed_with(
    database: Database, batch_id: UUID, drawer: Drawer
) -> None:
    codes = ["zeta", "alpha", "mid", "alpha", "zeta", "alpha"]
    for held, code in zip(drawer.claim(batch_id, len(codes)), codes, strict=True):
        drawer.fail(held, code=code)

    failed = JobFilter(state=JobState.FAILED)
    pages = list(pages_of(database, batch_id, failed, limit=4))
    assert [positions(page) for page in pages] == [[0, 1, 2, 3], [4, 5]]
    assert [job.error_code for page in pages for job in page.jobs] == codes
    assert positions(page_of(database, batch_id, JobFilter(error="alpha"))) == [1, 3, 5]
    assert positions(page_of(database, batch_id, JobFilter(error="alpha"), after=1)) == [3, 5]
    assert not page_of(database, batch_id, JobFilter(error="alph")).jobs

    with database.write() as session:
        retry_failed(session, session.get_one(Batch, batch_id), START)
    assert page_of(database, batch_id, failed) == JobPage((), next=None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fox", [0, 1]),
        ("A RED", [0]),
        ("100%", [2]),
        ("%", [2]),
        ("a_b", [3]),
        ("*", [4, 8]),
        ("[x]", [4]),
        ("äpfel", [5, 6]),
        ("ROTE ÄPFEL", [6]),
        ("ДРАКОН", [7]),
        ("é*", [8]),
        ("é?[", [9]),
        ("\\", [10]),
        ("prompt 11", [11]),
        ("LINE-11", [11]),
        ("ß", []),
    ],
)
def test_a_text_is_found_as_it_stands_in_upper_or_lower_case(
    database: Database, batch_id: UUID, text: str, expected: Sequence[int]
) -> None:
    set_prompts(
        database,
        batch_id,
        at_0="a red fox",
        at_1="a FOX",
        at_2="100% wool",
        at_3="a_b",
        at_4="[X] a*b",
        at_5="Äpfel",
        at_6="rote äPFEL",
        at_7="Красный дракон",
        at_8="a café* at night",
        at_9="a café?[ at night",
        at_10="a \\ b",
    )
    with database.write() as session:
        jobs_of(session, batch_id)[11].custom_id = "line-11"

    assert positions(page_of(database, batch_id, JobFilter(text=text))) == expected


def test_a_text_narrows_a_state(database: Database, batch_id: UUID, drawer: Drawer) -> None:
    set_prompts(database, batch_id, at_1="a fox", at_3="a fox", at_5="a fox", at_9="a fox")
    for held in drawer.claim(batch_id, 4):
        drawer.fail(held, code=f"code_{held.job.position % 3}")
    drawer.claim(batch_id, 2)

    for state, expected in ((JobState.FAILED, [1, 3]), (JobState.LEASED, [5])):
        only = JobFilter(state=state, text="Fox")
        assert positions(page_of(database, batch_id, only)) == expected
    assert positions(page_of(database, batch_id, JobFilter(error="code_0", text="fox"))) == [3]


def test_a_page_looks_through_so_much_of_a_batch_and_no_more(database: Database) -> None:
    batch_id = add_many(database, 2 * POSITIONS_A_LOOK + 10)
    last = 2 * POSITIONS_A_LOOK + 9
    set_prompts(database, batch_id, **{f"at_{last}": "a fox"})
    only = JobFilter(text="fox")

    pages = list(pages_of(database, batch_id, only, limit=5))
    assert [positions(page) for page in pages] == [[], [], [last]]
    assert [page.is_partial for page in pages] == [True, True, False]
    assert pages[0].looked_through == (0, POSITIONS_A_LOOK - 1)
    assert pages[1].looked_through == (POSITIONS_A_LOOK, 2 * POSITIONS_A_LOOK - 1)
    assert pages[0].to_json()["looked_through"] == [0, POSITIONS_A_LOOK - 1]

    *growing, whole = look_on(database, batch_id, only, None, 5)
    assert [page.looked_through for page in growing] == [
        (0, POSITIONS_A_LOOK - 1),
        (0, 2 * POSITIONS_A_LOOK - 1),
    ]
    assert (positions(whole), whole.next, whole.is_partial) == ([last], None, False)


def test_a_page_that_is_full_at_the_end_of_its_look_is_not_partial(database: Database) -> None:
    batch_id = add_many(database, POSITIONS_A_LOOK + 1)
    set_prompts(database, batch_id, at_0="a fox", at_9="a fox", **{f"at_{POSITIONS_A_LOOK}": "fox"})
    only = JobFilter(text="fox")

    first = page_of(database, batch_id, only, limit=2)
    assert (positions(first), first.next, first.is_partial) == (
        [0, 9],
        POSITIONS_A_LOOK - 1,
        False,
    )
    second = page_of(database, batch_id, only, limit=2, after=first.next)
    assert (positions(second), second.next) == ([POSITIONS_A_LOOK], None)


def test_a_rare_failure_is_found_without_looking_through_the_jobs_before_it(
    database: Database, drawer: Drawer
) -> None:
    batch_id = add_many(database, 3 * POSITIONS_A_LOOK)
    last = 3 * POSITIONS_A_LOOK - 1
    set_prompts(database, batch_id, **{f"at_{last}": "a fox"})
    with database.write() as session:
        session.execute(
            update(Job)
            .where(Job.batch_id == batch_id, Job.position == last)
            .values(state=JobState.FAILED, error_code="broken")
        )

    page = page_of(database, batch_id, JobFilter(state=JobState.FAILED, text="fox"))
    assert (positions(page), page.next, page.is_partial) == ([last], None, False)


def test_a_batch_without_jobs_has_an_empty_page(database: Database) -> None:
    with database.write() as session:
        batch_id = add_batch(session, jobs=0).id

    for only in (EVERY, JobFilter(text="a"), *(JobFilter(state=state) for state in JobState)):
        assert page_of(database, batch_id, only) == JobPage((), next=None)


@pytest.mark.parametrize(("after", "limit"), [(-1, 50), (2**63, 50), (0, 0), (0, 1_001)])
def test_a_cursor_or_limit_that_is_none_is_refused(
    database: Database, batch_id: UUID, after: int, limit: int
) -> None:
    with pytest.raises(InputError):
        page_of(database, batch_id, after=after, limit=limit)


@pytest.mark.parametrize(
    "wanted",
    [
        {"text": ""},
        {"text": "a" * 201},
        {"text": "a\0b"},
        {"error": "\udc80"},
        {"error": "broken", "state": JobState.DONE},
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(wanted: dict[str, str]) -> None:
    with pytest.raises(InputError):
        JobFilter(**wanted)  # type: ignore[arg-type]
