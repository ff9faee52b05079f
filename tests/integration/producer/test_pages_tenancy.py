"""A tenant's session reaches what is the tenant's, and a key's scopes what they say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

import pytest
from sqlalchemy import select

from shared.db.claims import claim_chunk
from shared.db.outcomes import record_failure
from shared.db.tables import Batch
from shared.domain.access import OF_A_TENANT, Scope
from support.api import ApiServer
from support.factories import LEASE, TIMES, add_price, add_worker, dispatch
from support.page_routes import PageRoute, nothing, page_routes
from support.visits import Visit, check_headers, rows_of, visiting

OWNER, OTHER = "owner-of-it", "somebody-else"
MARK = "zebra"
ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
GETS, POSTS = page_routes("GET"), page_routes("POST")
STREAM = "text/event-stream"
REFUSED = {403, 404}


@dataclass(frozen=True, slots=True)
class Owned:
    """What the owner has, and what tells that it is the owner's."""

    things: Mapping[str, str]
    marks: tuple[str, ...]


@pytest.fixture(scope="module")
def owned(api: ApiServer) -> Owned:
    """A batch of a job that failed, one that is held, and one that waits."""
    with api.client(api.new_key(OWNER)) as client:
        lines = [{"prompt": f"a {MARK}", "custom_id": f"{MARK}-{number}"} for number in range(3)]
        options = {"name": f"{MARK}s", "tags": {"of": MARK}, "hold": True, "sample": 2}
        made = client.post("/api/batches", json={"prompts": lines, **options}).raise_for_status()
        batch_id = made.json()["batch_id"]
        jobs = client.get(f"/api/batches/{batch_id}/jobs").json()["jobs"]
        upload = client.post(
            "/api/files", params={"name": f"{MARK}.txt"}, content=b"a " + MARK.encode()
        )
        file_id = upload.raise_for_status().json()["file_id"]
    with api.database.write() as session:
        now = api.database.now(session)
        add_price(session, effective_from=now)
        worker = add_worker(session, started_at=now).id
        chunk = dispatch(session, UUID(batch_id), jobs=1, now=now)
        for lease in claim_chunk(session, chunk, worker, now, LEASE):
            record_failure(
                session, lease, code=MARK, message=MARK, retry_at=None, times=TIMES, now=now
            )
    ids = {"job_id": jobs[0]["job_id"], "worker_id": str(worker), "file_id": file_id}
    things = {**nothing(), "batch_id": batch_id, **ids}
    return Owned(things, (MARK, OWNER, batch_id, *(job["job_id"] for job in jobs)))


@pytest.fixture(scope="module")
def stranger(api: ApiServer) -> Iterator[Visit]:
    """Somebody with a session of another tenant that may do all that a tenant's may."""
    with visiting(api, api.new_key(OTHER)) as visit:
        yield visit


def named(routes: list[PageRoute]) -> list[object]:
    return [pytest.param(route, id=str(route)) for route in routes]


def answered(visit: Visit, path: str) -> tuple[int, str]:
    """Return the status and the text of an answer; of one without end, what comes at once."""
    with visit.client.stream("GET", path) as answer:
        check_headers(answer)
        if not answer.headers.get("content-type", "").startswith(STREAM):
            return answer.status_code, f"{answer.read().decode('utf-8', 'replace')}{answer.headers}"
        lines: list[str] = []
        for line in answer.iter_lines():
            if not line and lines:
                break
            lines.append(line)
        return answer.status_code, "\n".join(lines)


def as_nobodys(told: str) -> str:
    """Leave out what differs between any two answers: names of things, and the date."""
    return re.sub(r"'date': '[^']*'", "", ID.sub("…", told))


@pytest.mark.parametrize("route", named([route for route in GETS if route.is_about_something]))
def test_pages_of_somebody_else_are_not_there(
    stranger: Visit, owned: Owned, route: PageRoute
) -> None:
    status, told = answered(stranger, route.about(owned.things))

    assert status in REFUSED
    assert MARK not in told
    assert OWNER not in told
    # Nor can they be told from what never was.
    never, of_nothing = answered(stranger, route.about(nothing()))
    assert (never, as_nobodys(of_nothing)) == (status, as_nobodys(told))


@pytest.mark.parametrize("route", named([route for route in GETS if not route.is_about_something]))
def test_pages_of_nothing_in_particular_have_nothing_of_somebody_else(
    stranger: Visit, owned: Owned, route: PageRoute
) -> None:
    for query in ("", f"?q={MARK}", f"?before={owned.things['batch_id'][:-1]}f"):
        status, told = answered(stranger, f"{route.path}{query}")
        assert status in {200, 303, 403, 422}
        assert not [mark for mark in owned.marks if mark in told.replace(query[3:] or "\0", "")]


@pytest.mark.parametrize("route", named([route for route in POSTS if route.is_about_something]))
def test_nobody_decides_about_what_is_somebody_elses(
    api: ApiServer, stranger: Visit, owned: Owned, route: PageRoute
) -> None:
    before = rows_of(api)

    refused = stranger.client.post(
        route.about(owned.things), data={"form_token": stranger.form_token(), "code": MARK}
    )

    assert refused.status_code in REFUSED
    assert MARK not in refused.text
    assert rows_of(api) == before


@pytest.mark.parametrize("route", named([route for route in POSTS if not route.is_about_something]))
def test_a_form_that_names_what_is_somebody_elses_gets_nothing_of_it(
    api: ApiServer, owned: Owned, route: PageRoute
) -> None:
    with visiting(api, api.new_key(OTHER)) as visit:
        token = visit.form_token()
        answer = visit.client.post(route.path, data={"form_token": token, **owned.things})

    assert answer.status_code < 500
    assert MARK not in answer.text
    with api.database.read() as session:
        assert session.scalar(select(Batch.id).where(Batch.tenant == OTHER)) is None


def test_the_owner_gets_all_of_it(api: ApiServer, owned: Owned) -> None:
    with visiting(api, api.new_key(OWNER)) as visit:
        assert "Pause" in answered(visit, f"/batches/{owned.things['batch_id']}/live")[1]
        for route in GETS:
            if route.is_about_something and not route.path.endswith((".webp", ".png")):
                status, _ = answered(visit, route.about(owned.things))
                assert status in {200, 303}, route
        assert MARK in visit.page(f"/batches/{owned.things['batch_id']}").text


def test_an_admin_sees_what_is_everybodys(api: ApiServer, owned: Owned) -> None:
    with visiting(api, api.new_key("operators", Scope.ADMIN)) as visit:
        listed = visit.page("/batches").text
        assert f"{MARK}s" in listed
        assert OWNER in listed
        page = visit.page(f"/batches/{owned.things['batch_id']}")
        assert {"Pause", "Cancel", "Draw the 1 held", "Try again"} <= set(page.buttons)


# Scopes


def test_who_may_only_read_is_offered_nothing_else(api: ApiServer, owned: Owned) -> None:
    here = f"/batches/{owned.things['batch_id']}"
    with visiting(api, api.new_key(OWNER, Scope.READ)) as visit:
        for path in ("/batches", here, f"{here}/jobs", f"/jobs/{owned.things['job_id']}"):
            page = visit.page(path)
            assert set(page.buttons) <= {"Sign out", "Show"}, path
            links = [link.attributes["href"] for link in page.all("a")]
            assert not [link for link in links if link.startswith(("/batches/new", "/fleet"))]
        assert "Pause" not in answered(visit, f"{here}/live")[1]


@pytest.mark.parametrize("route", named([route for route in POSTS if route.is_about_something]))
def test_who_may_only_read_decides_nothing(
    api: ApiServer, owned: Owned, reader: Visit, route: PageRoute
) -> None:
    before = rows_of(api)

    refused = reader.post(route.about(owned.things), 403)

    assert "this key lacks the scope" in refused.text
    assert rows_of(api) == before


@pytest.fixture(scope="module")
def reader(api: ApiServer) -> Iterator[Visit]:
    with visiting(api, api.new_key(OWNER, Scope.READ, Scope.SUBMIT)) as visit:
        yield visit


@pytest.mark.parametrize("route", named([route for route in GETS if route.is_about_something]))
def test_who_may_not_read_is_told_which_scope_is_missing(
    blind: Visit, owned: Owned, route: PageRoute
) -> None:
    status, told = answered(blind, route.about(owned.things))

    assert status == 403
    assert "this key lacks the scope" in told
    assert MARK not in told


def test_who_may_not_read_can_still_sign_out(blind: Visit) -> None:
    page = blind.page("/batches", 403)
    assert "this key lacks the scope read" in page.text
    assert "tenstep keys create --scope read" in page.text
    assert page.buttons == ["Sign out"]
    assert not page.all("nav")[0].text[0].strip()


@pytest.fixture(scope="module")
def blind(api: ApiServer) -> Iterator[Visit]:
    scopes = [scope for scope in OF_A_TENANT if scope is not Scope.READ]
    with visiting(api, api.new_key(OWNER, *scopes)) as visit:
        yield visit
