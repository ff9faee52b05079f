"""Whatever users, models and workers call things, pages only show it; the strict policy is kept."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
from httpx_sse import EventSource

from producer.dashboard.assets import asset
from shared.db.claims import claim_chunk
from shared.db.outcomes import record_done, record_failure
from support.api import ApiServer
from support.factories import (
    IMAGE,
    LEASE,
    TIMES,
    add_batch,
    add_price,
    add_worker,
    dispatch,
    jobs_of,
)
from support.page_routes import PageRoute, nothing, page_routes
from support.visits import Document, Visit, check_headers, visiting

MARK = "x-hostile"
HOSTILE = {
    "element": f"<script>alert(1)</script><{MARK} {MARK}><img src=x onerror=alert(1)>",
    "attribute": f"\" onfocus=\"alert(1)\" autofocus {MARK}=\"{MARK}' onclick='alert(1)' {MARK}='",
    "end of text": f"</title></textarea></script></style>--><{MARK} style='x' hx-get='/signout'>",
    "url": f"javascript:alert(1)//https://evil.example/<{MARK}>?a=b&c=d#e",
    "template": f"{{{{ 7*'7' }}}} {{% raw %}} {{# #}} ${{7*7}} %s %(x)s {{0}} <{MARK}>",
    "entities": f"&lt;{MARK}&gt; &#60;{MARK}&#62; &amp;lt; &colon; &NewLine;",
    "direction": f"\u202e\u2066\u200f gnp.exe \u2069<{MARK}>\u0301\ufeff\u2028\u2029",
    "control": f"\x1b[31m\x07\x7f\x85\x01 <{MARK}>\r\n\r\nevent: end\ndata: <{MARK}>",
    "long": f"<{MARK}>" + "x" * 10_000,
    "alphabets": f"日本語 العربية \U0001f98a\u200d\U0001f525 <{MARK}>",
}
SHORT = 120
"""Characters that are shown of everything, however little room there is."""


@dataclass(frozen=True, slots=True)
class Named:
    """What is called something hostile."""

    text: str
    batch_id: UUID
    failed: UUID
    done: UUID

    @property
    def here(self) -> str:
        return f"/batches/{self.batch_id}"

    @property
    def shown(self) -> str:
        """As much of it as there is room for everywhere."""
        return as_shown(self.text)[:SHORT]


@pytest.fixture(scope="module")
def visit(api: ApiServer) -> Iterator[Visit]:
    """Somebody on the host of a server without keys, who sees everything."""
    with visiting(api) as visit:
        yield visit


@pytest.fixture(scope="module")
def named(api: ApiServer) -> Mapping[str, Named]:
    return {name: add_named(api, text) for name, text in HOSTILE.items()}


def add_named(api: ApiServer, text: str) -> Named:
    """Add a batch of jobs, one that failed, one that is done, and some that wait."""
    with api.database.write() as session:
        now = api.database.now(session)
        worker = add_worker(session, started_at=now)
        add_price(session, effective_from=now - timedelta(days=1), sku=text[:64])
        worker.host = worker.device = worker.device_name = worker.model = worker.version = text
        worker.device_sku = text[:64]
        batch = add_batch(session, jobs=4, created_at=now)
        batch.name, batch.model, batch.tenant, batch.tags = text, text, text, {text: text}
        for job in jobs_of(session, batch.id):
            job.prompt = job.negative_prompt = job.custom_id = job.squeeze = text
            job.details = {text: {text: [text, {"a": None}]}, "url": text}
        session.flush()
        batch_id = batch.id
        chunk = dispatch(session, batch_id, jobs=2, now=now)
        failing, drawn = claim_chunk(session, chunk, worker.id, now, LEASE)
        record_failure(
            session,
            failing,
            code=text[:60],
            message=text,
            retry_at=None,
            times=TIMES,
            now=now,
        )
        record_done(session, drawn, IMAGE, TIMES, {"model": text, text: [text]}, now)
        return Named(text, batch_id, failing.job.id, drawn.job.id)


@pytest.mark.parametrize("name", HOSTILE)
def test_pages_show_what_things_are_called_and_are_nothing_of_it(
    visit: Visit, named: Mapping[str, Named], name: str
) -> None:
    thing = named[name]
    search = quote(thing.text[:60])
    for path in (
        *("/batches", f"/batches?q={search}", thing.here, f"{thing.here}/images"),
        *(f"{thing.here}/jobs", f"{thing.here}/jobs?text={search}&error={search}"),
        *(f"/jobs/{thing.failed}", f"/jobs/{thing.done}"),
    ):
        page = visit.page(path)
        assert not bears_marks(page), path
        if "?" not in path:
            assert thing.shown in as_shown(everything_of(page)), path
    details = visit.page(f"/jobs/{thing.failed}")
    assert details.text.count(thing.shown) >= 5


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_sent_later_is_no_more_dangerous(
    visit: Visit, named: Mapping[str, Named], name: str
) -> None:
    thing = named[name]
    for path in (f"{thing.here}/live", f"/batches/live?q={quote(thing.text[:60])}"):
        with visit.client.stream("GET", path) as answer:
            check_headers(answer)
            sent = next(EventSource(answer).iter_sse())
        assert sent.event in {"progress", "rows"}
        fragment = Document(f"<body>{sent.data}")
        assert not fragment.faults()
        assert not bears_marks(fragment)
        assert thing.shown in as_shown(everything_of(fragment))


@pytest.mark.parametrize(
    "route", [pytest.param(route, id=str(route)) for route in page_routes("GET")]
)
def test_every_route_keeps_the_policy(
    visit: Visit, named: Mapping[str, Named], route: PageRoute
) -> None:
    thing = named["element"]
    things = {**nothing(), "batch_id": str(thing.batch_id), "job_id": str(thing.failed)}
    with visit.client.stream("GET", route.about(things)) as answer:
        check_headers(answer)
        assert answer.status_code in {200, 303, 404}
        if answer.headers.get("content-type", "").startswith("text/html"):
            page = Document(answer.read().decode())
            assert not page.faults()
            assert not bears_marks(page)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_wrong_with_a_request_is_told_as_text(visit: Visit, name: str) -> None:
    text = quote(HOSTILE[name][:300])
    for path in (
        *(f"/{text}", f"/batches/{text}", f"/jobs/{text}", f"/batches?state={text}"),
        *(f"/static/{text}", f"/batches?{text}={text}", f"/batches?before={text}"),
    ):
        answer = visit.client.get(path)
        assert answer.status_code in {404, 405, 422}, path
        _assert_is_safe(answer)
        scripted = visit.client.get(path, headers={"HX-Request": "true"})
        _assert_is_safe(scripted)


@pytest.mark.parametrize("name", HOSTILE)
def test_the_form_for_signing_in_shows_nothing_of_it(api: ApiServer, name: str) -> None:
    elsewhere = {"Host": "elsewhere.example"}
    with visiting(api) as nobody:
        for text in (HOSTILE[name][:500], f"/{HOSTILE[name][:500]}"):
            page = nobody.page("/signin", params={"next": text}, headers=elsewhere)
            assert not bears_marks(page)
            form = {"form_token": page.form_token, "key": text[:200], "next": text}
            refused = nobody.client.post("/signin", data=form, headers=elsewhere)
            assert refused.status_code == 401
            _assert_is_safe(refused)


def test_files_of_the_pages_have_the_headers_too(visit: Visit) -> None:
    style = visit.get(asset("app.css"))
    assert style.headers["content-type"].startswith("text/css")
    assert style.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "set-cookie" not in style.headers
    script = visit.get("/static/app.js")
    assert "immutable" not in script.headers.get("cache-control", "")
    for path in ("/static/", "/static/none.js", "/static/../app.py", "/static/%2e%2e/app.py"):
        visit.page(path, 404)


def test_the_policy_allows_no_script_or_style_in_a_page(visit: Visit) -> None:
    policy = visit.get("/batches").headers["content-security-policy"]
    directives = dict(one.strip().partition(" ")[::2] for one in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == "'self'"
    assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "data:" not in policy


@pytest.mark.parametrize("line", ["OPTIONS *", "GET *", "CONNECT a:1", "GET //evil.example/x"])
def test_targets_that_are_no_paths_are_of_no_page(api: ApiServer, line: str) -> None:
    url = httpx.URL(api.url)
    asked = f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with socket.create_connection((url.host, url.port or 0), timeout=10) as connection:
        connection.sendall(asked.encode())
        answer = connection.recv(65_536).decode()

    assert answer.startswith(("HTTP/1.1 404", "HTTP/1.1 405"))
    assert "content-security-policy: default-src 'none'" in answer.lower()


def _assert_is_safe(answer: httpx.Response) -> None:
    check_headers(answer)
    page = Document(answer.text)
    assert not page.faults(), answer.url
    assert not bears_marks(page), answer.url


def bears_marks(page: Document) -> Sequence[str]:
    """Return what of a page is an element or an attribute that only a hostile text has."""
    return [
        str(one)
        for one in page.elements
        if MARK in one.tag or any(MARK in name for name in one.attributes)
    ]


def everything_of(page: Document) -> str:
    """Return what is to be read, and what images and titles say."""
    said = [value for one in page.elements for value in one.attributes.values()]
    return " ".join([page.text, *said])


def as_shown(text: str) -> str:
    """Return it as a browser would lay it out."""
    return " ".join(text.split())
