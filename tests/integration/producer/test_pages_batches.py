"""The list of batches, and the jobs of one: what is found, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from uuid import uuid4

import pytest

from producer.batch_options import BatchOptions
from producer.batch_requests import Asked, ask
from producer.inline_batches import submit_inline
from shared.db.batches import cancel_batch
from shared.domain.requests import RequestState
from support.api import ApiServer
from support.drawn import fail_first
from support.factories import add_batch
from support.visits import Document, Visit, visiting

OTHER_MODEL = "another-model"


@pytest.fixture(scope="module")
def visit(api: ApiServer) -> Iterator[Visit]:
    """Somebody on the host of a server without keys, who may do everything."""
    with visiting(api) as visit:
        yield visit


def listed(page: Document) -> list[str]:
    """Return ids of the batches that a page lists, in order."""
    rows = (row.attributes.get("id", "") for row in page.all("tr"))
    return [row.removeprefix("batch-") for row in rows if row.startswith("batch-")]


def all_listed(visit: Visit, path: str) -> list[list[str]]:
    """Return what each page lists, from one to the next."""
    pages = []
    while path:
        page = visit.page(path)
        pages.append(listed(page))
        onward = page.all("a", rel="next")
        path = onward[0].attributes["href"] if onward else ""
    return pages


# The list


def test_many_batches_are_listed_page_by_page_without_gaps_or_doubles(
    api: ApiServer, visit: Visit
) -> None:
    with api.database.write() as session:
        made = [add_batch(session, jobs=1) for _ in range(130)]
        for number, batch in enumerate(made):
            batch.name = f"one of many, number {number}"
        wanted = [str(batch.id) for batch in reversed(made)]

    pages = all_listed(visit, "/batches?q=One+of+MANY&state=open")

    assert [len(page) for page in pages] == [50, 50, 30]
    assert list(chain.from_iterable(pages)) == wanted
    # What comes meanwhile shifts nothing.
    older = f"/batches?q=one+of+many&before={wanted[49]}"
    with api.database.write() as session:
        add_batch(session).name = "one of many, later"
    assert all_listed(visit, older) == pages[1:]


def test_batches_are_found_by_what_they_are_called_and_by_their_state(
    api: ApiServer, visit: Visit
) -> None:
    with api.database.write() as session:
        first, second = add_batch(session), add_batch(session)
        first.name, second.name = "Sommerkollektion Öl", "winter 100 %_"
        second.model = OTHER_MODEL
        session.flush()
        cancel_batch(session, second, api.database.now(session))
        one, two = str(first.id), str(second.id)

    for query, found in (
        ("q=sommerkollektion+öl", [one]),
        ("q=ÖL", [one]),
        (f"q={OTHER_MODEL}", [two]),
        ("q=100+%25_", [two]),
        (f"q={one[:23]}", [one] if one[:23] != two[:23] else [two, one]),
        (f"q={two}&state=cancelled", [two]),
        (f"q={two}&state=open", []),
        (f"q={one}&state=waiting", [one]),
        (f"q={one}&state=finished", []),
    ):
        assert listed(visit.page(f"/batches?{query}")) == found, query
    assert "No batch is like that" in visit.page("/batches?q=nothing-like-it").text


@pytest.mark.parametrize(
    "query", ["state=none", f"q={'x' * 201}", "before=1", "before=%00", "colour=red"]
)
def test_a_search_that_makes_no_sense_is_told_so(visit: Visit, query: str) -> None:
    assert visit.page(f"/batches?{query}", 422).all("p", role="alert")


def test_batches_whose_file_is_being_read_are_listed_too(api: ApiServer, visit: Visit) -> None:
    """More of them than a page has, and batches between them."""
    made: list[str] = []
    with api.database.write() as session:
        now = api.database.now(session)
        for number in range(60):
            asked = Asked(
                tenant="reading",
                input_file_id=uuid4(),
                prompt_format=None,
                options=BatchOptions(name=f"unread {number}"),
            )
            request = ask(session, api.settings, asked, now)
            request.worked_on_until = now + timedelta(days=1)  # by another clerk
            made.append(str(request.id))
            if number % 10 == 0:
                batch = add_batch(session, jobs=1)
                batch.name = f"unread between {number}"
                made.append(str(batch.id))

    pages = all_listed(visit, "/batches?q=unread")

    assert [len(page) for page in pages] == [50, 16]
    assert list(chain.from_iterable(pages)) == made[::-1]
    page = visit.page(f"/batches/{made[0]}")
    assert "validating" in page.text
    assert "Images" not in [" ".join(one.text) for one in page.all("h2")]


def test_a_batch_whose_file_was_refused_is_listed_once_and_found(
    api: ApiServer, visit: Visit
) -> None:
    with api.database.write() as session:
        asked = Asked(
            tenant="reading",
            input_file_id=uuid4(),
            prompt_format=None,
            options=BatchOptions(name="nothing to draw"),
        )
        request = ask(session, api.settings, asked, api.database.now(session))
        request.state = RequestState.FAILED
        batch_id = str(request.id)

    assert all_listed(visit, "/batches?q=nothing+to+draw") == [[batch_id]]
    assert all_listed(visit, "/batches?q=nothing+to+draw&state=failed") == [[batch_id]]
    assert all_listed(visit, "/batches?q=nothing+to+draw&state=open") == [[]]


# Jobs of a batch


def test_jobs_are_found_by_state_by_error_and_by_text(api: ApiServer, visit: Visit) -> None:
    lines = [{"prompt": f"a fox {number}", "custom_id": f"id-{number}"} for number in range(230)]
    options = BatchOptions()
    batch_id = submit_inline(api.services, options, lines, tenant="default", key=None).batch_id
    fail_first(api, batch_id, ["broken", "flagged", "broken"])
    here = f"/batches/{batch_id}/jobs"

    def positions(path: str) -> list[int]:
        found: list[int] = []
        while path:
            page = visit.page(path)
            links = [one for one in page.all("a") if one.attributes["href"].startswith("/jobs/")]
            found += [int(one.text[0]) for one in links]
            onward = page.all("a", rel="next")
            path = f"{here}{onward[0].attributes['href']}" if onward else ""
        return found

    assert positions(here) == list(range(230))
    assert positions(f"{here}?state=&error=&text=") == list(range(230))
    assert positions(f"{here}?state=failed") == [0, 1, 2]
    assert positions(f"{here}?error=broken") == [0, 2]
    assert positions(f"{here}?state=pending&text=FOX+22") == [22, *range(220, 230)]
    assert positions(f"{here}?text=id-7") == [7, *range(70, 80)]
    assert "No job is like that" in visit.page(f"{here}?text=none").text
    visit.page(f"{here}?state=drawn", 422)
    job = visit.get(f"{here}/22", 303).headers["location"]
    assert "a fox 22" in visit.page(job).text
    visit.page(f"{here}/230", 404)
