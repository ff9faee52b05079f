"""Pages of a server that nobody has made a key for, and what its logs tell once somebody has."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import update

from shared.db.tables import Job
from shared.domain.access import Scope
from support.api import ApiServer
from support.factories import add_batch, jobs_of
from support.visits import visiting

MOST_REDIRECTS = 5
UNKNOWN = "tsk_nobody-has-made-this"


def test_while_there_is_no_key_this_host_is_let_in(api: ApiServer) -> None:
    with visiting(api) as visit:
        page = visit.page("/batches")
        assert "this host" in page.text
        assert "Sign out" not in page.buttons
        assert visit.get("/signin", 303).headers["location"] == "/batches"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Host": "evil.example"}, id="a name that was made to point here"),
        pytest.param({"Origin": "https://evil.example"}, id="a page of some site in a browser"),
        pytest.param({"Origin": "null"}, id="a page of a file"),
        pytest.param({"X-Forwarded-For": "127.0.0.1"}, id="somebody behind a proxy"),
    ],
)
def test_what_only_seems_to_be_local_gets_no_further_than_the_form(
    api: ApiServer, headers: dict[str, str]
) -> None:
    with visiting(api) as visit:
        answer = visit.client.get("/batches", headers=headers)
        hops = 0
        while answer.is_redirect and hops < MOST_REDIRECTS:
            answer = visit.client.get(answer.headers["location"], headers=headers)
            hops += 1
        assert answer.status_code == 200
        assert hops == 1
        assert answer.request.url.path == "/signin"
        refused = visit.client.post(
            f"/batches/{uuid4()}/pause", data={"form_token": visit.form_token()}, headers=headers
        )
    assert refused.status_code == 401


def logs_of(folder: Path) -> str:
    return "".join(path.read_text("utf-8", "replace") for path in (folder / "logs").iterdir())


def test_no_log_has_a_key_or_a_token_even_when_a_page_breaks(api: ApiServer) -> None:
    secret = api.new_key("studio", Scope.ADMIN)
    with api.database.write() as session:
        job_id = jobs_of(session, add_batch(session, jobs=1).id)[0].id
        session.execute(update(Job).values(details=["of another release"]))
    with visiting(api) as visit:
        assert visit.is_signed_out_soon()
        visit.sign_in(secret)
        # The server hangs up after such an answer.
        broken = visit.page(f"/jobs/{job_id}", 500, headers={"Connection": "close"})
        refused = {"form_token": visit.form_token(), "key": UNKNOWN}
        assert visit.client.post("/signin", data=refused).status_code == 401
        secrets = (secret, UNKNOWN, visit.token or "", refused["form_token"])

    assert "this should not have happened" in broken.text
    told = logs_of(api.settings.data_dir)
    assert "request_failed" in told
    assert "another release" not in broken.text
    assert not [one for one in secrets if one in told or one in broken.text]
