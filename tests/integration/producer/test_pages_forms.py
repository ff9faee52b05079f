"""Whatever changes something is taken only from a page that this server made for this session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import httpx
import pytest

from shared.domain.access import Scope
from support.api import ApiServer
from support.factories import add_worker
from support.page_routes import PageRoute, page_routes
from support.visits import Visit, check_headers, rows_of, visiting

POSTS = page_routes("POST")
FIELDS = {"code": "bad_settings", "key": "tsk_of-somebody-else", "next": "/batches"}


@pytest.fixture(scope="module")
def key(api: ApiServer) -> str:
    """Of whoever may do everything, so that nothing else is in the way."""
    return api.new_key("studio", *Scope)


@pytest.fixture(scope="module")
def things(api: ApiServer, key: str) -> Mapping[str, str]:
    """A batch that is held, so that every decision would change something."""
    with api.client(key) as client:
        made = client.post("/api/batches", json={"prompts": ["a fox"], "hold": True})
        batch_id = made.raise_for_status().json()["batch_id"]
        job = client.get(f"/api/batches/{batch_id}/jobs").json()["jobs"][0]
    with api.database.write() as session:
        worker = add_worker(session, started_at=api.database.now(session))
        return {"batch_id": batch_id, "job_id": job["job_id"], "worker_id": str(worker.id)}


@pytest.fixture(scope="module")
def visit(api: ApiServer, key: str) -> Iterator[Visit]:
    with visiting(api, key) as visit:
        yield visit


@pytest.fixture(scope="module")
def tokens(api: ApiServer, key: str, visit: Visit) -> Iterator[Mapping[str, str]]:
    """Tokens of another session of the same key, of nobody, and the right one."""
    with visiting(api, key) as other, visiting(api) as nobody:
        yield {
            "other": other.form_token(),
            "nobody": nobody.form_token(),
            "own": visit.form_token(),
        }


@pytest.mark.parametrize("route", [pytest.param(route, id=str(route)) for route in POSTS])
def test_a_form_of_another_page_changes_nothing(
    api: ApiServer,
    visit: Visit,
    things: Mapping[str, str],
    tokens: Mapping[str, str],
    route: PageRoute,
) -> None:
    path, before, own = route.about(things), rows_of(api), tokens["own"]

    def refused(headers: Mapping[str, str] | None = None, **fields: str) -> None:
        _assert_refused(visit.client.post(path, data={**FIELDS, **fields}, headers=headers))

    refused()
    for wrong in ("", tokens["other"], tokens["nobody"], visit.token or "", own[:-1], f"{own}0"):
        refused(form_token=wrong)
        refused({"X-Form-Token": wrong})
    refused({"X-Form-Token": tokens["other"]}, form_token=own)
    for site in ("cross-site", "same-site", "nonsense"):
        refused({"Sec-Fetch-Site": site}, form_token=own)
        refused({"Sec-Fetch-Site": site, "X-Form-Token": own})
    # Bodies that a page elsewhere can send without asking first.
    for kind in ("text/plain", "application/json", "multipart/form-data", ""):
        body, headers = f"form_token={own}", {"Content-Type": kind}
        _assert_refused(visit.client.post(path, content=body, headers=headers), 403, 400)
    visit.client.get(f"{path}?form_token={own}")
    _assert_refused(visit.client.post(f"{path}?form_token={own}", data=FIELDS))
    scripted = visit.client.post(path, data=FIELDS, headers={"HX-Request": "true"})
    assert scripted.headers["hx-retarget"] == "#messages"
    assert "Load the page again" in scripted.text
    _assert_refused(scripted)

    assert rows_of(api) == before


def test_other_methods_do_nothing(
    api: ApiServer, visit: Visit, things: Mapping[str, str], tokens: Mapping[str, str]
) -> None:
    before = rows_of(api)
    gets = {route.path for route in page_routes("GET")}
    for route in POSTS:
        for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"):
            if method == "GET" and route.path in gets:
                continue
            headers = {"X-Form-Token": tokens["own"]}
            answer = visit.client.request(method, route.about(things), headers=headers)
            assert answer.status_code in {404, 405, 422}, f"{method} {route}"
            check_headers(answer)
    assert rows_of(api) == before


def test_with_the_token_in_a_field_a_form_is_taken(
    api: ApiServer, visit: Visit, things: Mapping[str, str]
) -> None:
    here = f"/batches/{things['batch_id']}"
    before = rows_of(api)

    assert visit.post(f"{here}/pause").headers["location"] == here

    assert rows_of(api) != before
    assert "Resume" in visit.page(here).buttons


def test_with_the_token_in_a_header_a_script_is_heard(
    visit: Visit, things: Mapping[str, str]
) -> None:
    here = f"/batches/{things['batch_id']}"
    headers = {"X-Form-Token": visit.form_token(), "HX-Request": "true"}
    headers |= {"Sec-Fetch-Site": "same-origin"}

    answer = visit.client.post(f"{here}/resume", headers=headers)

    assert answer.status_code == 204
    assert answer.headers["hx-redirect"] == here
    assert "Pause" in visit.page(here).buttons


def test_a_form_in_parts_is_taken_too(visit: Visit, things: Mapping[str, str]) -> None:
    here = f"/batches/{things['batch_id']}"
    parts = {"form_token": (None, visit.form_token())}

    assert visit.client.post(f"{here}/pause", files=parts).status_code == 303


def test_every_form_of_every_page_carries_the_token(
    visit: Visit, things: Mapping[str, str], tokens: Mapping[str, str]
) -> None:
    here = f"/batches/{things['batch_id']}"
    for path in ("/batches", here, f"{here}/jobs", f"/jobs/{things['job_id']}"):
        page = visit.page(path)
        forms = page.all("form", method="post")
        carried = [one.attributes["value"] for one in page.all("input", name="form_token")]
        assert carried == [tokens["own"]] * len(forms), path


def _assert_refused(answer: httpx.Response, *statuses: int) -> None:
    assert answer.status_code in (statuses or {403}), answer.text[:1000]
    check_headers(answer)
