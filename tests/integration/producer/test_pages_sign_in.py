"""Sessions of the dashboard: how one begins, what it is worth, and how it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from httpx_sse import EventSource
from sqlalchemy import update
from starlette.responses import PlainTextResponse

from producer.api.keyring import KeyRing
from producer.api.rates import RateLimiter
from producer.dashboard.pages import refuse
from producer.dashboard.visits import COOKIE, VisitGate
from producer.dashboard.visits import Visit as VisitOfServer
from producer.keys import create_key, revoke_key
from shared.db.api_tables import ApiKey, SignIn
from shared.domain.access import OF_A_TENANT
from shared.settings import Settings
from support.api import ApiServer, run_api
from support.factories import add_batch
from support.visits import Visit, check_headers, visiting

SESSION_HOURS = 3
KNOWN_SECONDS = 1.0
UNKNOWN = "tsk_nobody-has-made-this"


@pytest.fixture(scope="module")
def api(api_settings: Settings) -> Iterator[ApiServer]:
    """A server that somebody has made a key for."""
    with run_api(api_settings.model_copy(update={"session_hours": SESSION_HOURS})) as server:
        server.new_key("anybody")
        yield server


@pytest.fixture(scope="module")
def key(api: ApiServer) -> str:
    return api.new_key("studio")


@pytest.fixture
def nobody(api: ApiServer) -> Iterator[Visit]:
    """Somebody who is not signed in."""
    with visiting(api) as visit:
        yield visit


@pytest.fixture
def visit(api: ApiServer, key: str) -> Iterator[Visit]:
    with visiting(api, key) as visit:
        yield visit


# How it begins


def attributes_of(answer: httpx.Response) -> dict[str, str]:
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name.startswith(f"{COOKIE}=")
    return dict(one.partition("=")[::2] for one in attributes)


def test_the_cookie_is_for_this_server_and_no_script(nobody: Visit, key: str) -> None:
    signed_in = nobody.sign_in(key)

    assert attributes_of(signed_in) == {
        "HttpOnly": "",
        "Max-Age": str(SESSION_HOURS * 3600),
        "Path": "/",
        "SameSite": "Lax",
    }
    assert nobody.page("/batches").all("span", class_="tenant")[0].text[0] == "studio"


@pytest.mark.parametrize(
    ("public_url", "url"),
    [
        pytest.param("https://render.example", "http://127.0.0.1", id="behind a proxy"),
        pytest.param(None, "https://127.0.0.1", id="by itself"),
    ],
)
def test_where_https_is_spoken_the_cookie_is_for_https_alone(
    api: ApiServer, public_url: str | None, url: str
) -> None:
    settings = api.settings.model_copy(update={"public_url": public_url})
    rates = RateLimiter(api.services.broker.url, settings.redis_key_prefix, 1)
    gate = VisitGate(
        PlainTextResponse("a page"),
        keys=KeyRing(api.database),
        rates=rates,
        settings=settings,
        refuse=refuse,
    )

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(gate)
        async with httpx.AsyncClient(transport=transport, base_url=url) as client:
            return await client.get("/signin")

    assert "Secure" in attributes_of(asyncio.run(ask()))


def test_a_session_has_a_token_that_nobody_knew_before(nobody: Visit, key: str) -> None:
    nobody.client.cookies.set(COOKIE, "chosen-by-somebody-else", domain="127.0.0.1", path="/")
    nobody.page("/signin")
    before = nobody.token

    nobody.sign_in(key)

    assert nobody.token != before
    assert len(nobody.token or "") >= 43  # of base64: 256 bits
    nobody.client.cookies.clear()
    nobody.client.cookies.set(COOKIE, before or "")
    assert nobody.get("/batches", 303).headers["location"].startswith("/signin")


def test_two_sessions_of_one_key_have_tokens_of_their_own(api: ApiServer, key: str) -> None:
    with visiting(api, key) as one, visiting(api, key) as other:
        assert one.token != other.token
        assert one.form_token() != other.form_token()


@pytest.mark.parametrize("wrong", [UNKNOWN, "x", "tsk_", "' OR 1=1 --", "日本\N{PILE OF POO}"])
def test_a_wrong_key_opens_nothing_and_is_told_nothing(nobody: Visit, wrong: str) -> None:
    refused = nobody.sign_in(wrong)

    assert refused.status_code == 401
    assert "This key is not known, or no longer." in refused.text
    assert wrong not in refused.text or wrong in {"x", "tsk_"}
    nobody.get("/batches", 303)


def test_keys_that_are_no_longer_good_are_told_the_same_as_wrong_ones(
    api: ApiServer, nobody: Visit
) -> None:
    with api.database.write() as session:
        now = api.database.now(session)
        revoked, revoked_secret = create_key(session, "studio", "r", OF_A_TENANT, now)
        revoke_key(session, revoked.id, now)
        past = now - timedelta(days=2)
        end = past + timedelta(days=1)
        _, expired = create_key(session, "studio", "e", OF_A_TENANT, past, expires_at=end)

    told = [nobody.sign_in(secret) for secret in (UNKNOWN, revoked_secret, expired)]

    assert {answer.status_code for answer in told} == {401}
    assert len({answer.text for answer in told}) == 1


@pytest.mark.parametrize(
    "target", ["/batches?q=fox&state=open", "/jobs/1", "/batches?q=%E6%97%A5%20x", "/costs#by"]
)
def test_after_signing_in_one_is_where_one_wanted_to_be(
    nobody: Visit, key: str, target: str
) -> None:
    page = target.partition("#")[0]
    asked = nobody.get(page, 303).headers["location"]
    form = nobody.page(asked)

    assert form.all("input", name="next")[0].attributes["value"] == page
    assert nobody.sign_in(key, next=target).headers["location"] == target


@pytest.mark.parametrize(
    "target",
    [
        *("//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example"),
        *("https://evil.example", "javascript:alert(1)", "evil.example", "", "@evil.example"),
        *("/\t/evil.example", "/\n/evil.example", "\t//evil.example", " //evil.example"),
        *("/ok\r\nSet-Cookie: a=b", "/ok\x00", "/\u202e", "/\ud7ff\u2028"),
    ],
)
def test_nobody_is_sent_on_to_another_site(nobody: Visit, key: str, target: str) -> None:
    form = nobody.page(str(httpx.URL("/signin", params={"next": target})))
    assert form.all("input", name="next")[0].attributes["value"] == "/batches"

    signed_in = nobody.sign_in(key, next=target)

    assert signed_in.headers["location"] == "/batches"
    again = nobody.get(str(httpx.URL("/signin", params={"next": target})), 303)
    assert again.headers["location"] == "/batches"


def test_a_script_that_signs_in_is_sent_on_even_to_a_path_in_another_alphabet(
    nobody: Visit, key: str
) -> None:
    token = nobody.form_token()
    answer = nobody.client.post(
        "/signin",
        data={"key": key, "next": "/batches?q=日本"},
        headers={"HX-Request": "true", "X-Form-Token": token},
    )

    assert answer.status_code == 204
    assert answer.headers["hx-redirect"] == "/batches?q=%E6%97%A5%E6%9C%AC"


def test_a_very_long_path_is_forgotten_rather_than_refused(nobody: Visit) -> None:
    asked = nobody.get(f"/batches/new?prompt={'x' * 9_000}", 303).headers["location"]

    assert nobody.page(asked).all("input", name="key")


# How it ends


def test_signing_out_ends_a_session_for_every_copy_of_its_cookie(
    api: ApiServer, visit: Visit
) -> None:
    before = visit.token or ""
    with visiting(api) as copy:
        copy.client.cookies.set(COOKIE, before)
        copy.page("/batches")

        assert visit.post("/signout").headers["location"] == "/signin"

        assert copy.get("/batches", 303).headers["location"].startswith("/signin")
    assert visit.token not in {None, before}
    visit.page("/signin")


def test_signing_out_leaves_other_sessions_of_the_key(api: ApiServer, key: str) -> None:
    with visiting(api, key) as one, visiting(api, key) as other:
        one.post("/signout")
        other.page("/batches")


def test_a_revoked_key_ends_its_sessions(api: ApiServer) -> None:
    with api.database.write() as session:
        now = api.database.now(session)
        made, secret = create_key(session, "studio", "short", OF_A_TENANT, now)
    with visiting(api, secret) as visit:
        visit.page("/batches")
        with api.database.write() as session:
            revoke_key(session, made.id, api.database.now(session))

        assert visit.is_signed_out_soon()


def test_an_expired_key_ends_its_sessions(api: ApiServer) -> None:
    with api.database.write() as session:
        now = api.database.now(session)
        end = now + timedelta(hours=1)
        made, secret = create_key(session, "studio", "e", OF_A_TENANT, now, expires_at=end)
    with visiting(api, secret) as visit:
        visit.page("/batches")
        with api.database.write() as session:
            session.get_one(ApiKey, made.id).expires_at = api.database.now(session)

        assert visit.is_signed_out_soon()


def test_a_session_ends_by_itself(api: ApiServer, key: str) -> None:
    with visiting(api, key) as visit:
        with api.database.write() as session:
            session.execute(update(SignIn).values(expires_at=api.database.now(session)))

        assert visit.is_signed_out_soon()


@pytest.mark.parametrize("is_signed_out", [True, False])
def test_what_a_page_follows_ends_with_its_session(api: ApiServer, *, is_signed_out: bool) -> None:
    with api.database.write() as session:
        now = api.database.now(session)
        made, secret = create_key(session, "studio", "short", OF_A_TENANT, now)
        add_batch(session).tenant = "studio"
    with visiting(api, secret) as visit, visit.client.stream("GET", "/batches/live") as answer:
        following = EventSource(answer).iter_sse()
        assert next(following).event == "rows"
        if is_signed_out:
            visit.post("/signout")
        else:
            with api.database.write() as session:
                revoke_key(session, made.id, api.database.now(session))
            time.sleep(KNOWN_SECONDS)
        with api.database.write() as session:
            add_batch(session).tenant = "studio"

        assert list(following) == []


# What it is worth


def test_the_api_takes_no_session(visit: Visit) -> None:
    assert visit.client.get("/api/batches").status_code == 401
    bearer = {"Authorization": f"Bearer {visit.token}"}
    assert visit.client.get("/api/batches", headers=bearer).status_code == 401


def test_pages_take_no_key(nobody: Visit, key: str) -> None:
    bearer = {"Authorization": f"Bearer {key}"}
    assert nobody.client.get("/batches", headers=bearer).json()["status"] == 404
    for headers in (
        {"Cookie": f"{COOKIE}={key}"},
        {"Cookie": f"{COOKIE}={'x' * 5_000}"},
        {"Cookie": f'{COOKIE}="\\377\\376"'},
    ):
        assert (
            nobody.get("/batches", 303, headers=headers).headers["location"].startswith("/signin")
        )


def test_who_is_not_signed_in_is_told_so_by_whatever_is_asked(nobody: Visit) -> None:
    for path in ("/", "/batches/live", f"/batches/{uuid4()}", f"/jobs/{uuid4()}/image.png"):
        assert nobody.get(path, 303).headers["location"].startswith("/signin")
    scripted = nobody.get("/batches", 401, headers={"HX-Request": "true"})
    assert scripted.headers["hx-redirect"] == "/signin?next=/"
    post = nobody.client.post(f"/batches/{uuid4()}/pause", data={"form_token": nobody.form_token()})
    assert post.status_code == 401
    check_headers(post)


def test_what_a_server_knows_of_a_visit_is_not_in_its_repr() -> None:
    visit = VisitOfServer(token="a-token")
    assert "a-token" not in repr(visit)
    assert visit.form_token not in repr(visit)
