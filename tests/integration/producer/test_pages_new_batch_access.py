"""The form of a new batch: whose it is, what it takes, and files that a script sends."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from shared.domain.access import OF_A_TENANT, Scope
from support.api import ApiServer
from support.new_batch_forms import (
    CONFIRM,
    FORM,
    PREVIEW,
    UPLOAD,
    hidden,
    kept,
    sent,
    upload,
)
from support.visits import Visit, check_headers, visiting


@pytest.fixture(scope="module")
def key(api: ApiServer) -> str:
    return api.new_key("studio")


@pytest.fixture
def visit(api: ApiServer, key: str) -> Iterator[Visit]:
    with visiting(api, key) as visit:
        yield visit


@pytest.fixture
def stranger(api: ApiServer) -> Iterator[Visit]:
    with visiting(api, api.new_key("other")) as visit:
        yield visit


# A file that a script sends


def test_a_script_uploads_a_file_as_it_is(visit: Visit) -> None:
    answer = upload(visit, gzip.compress(b"a tree\na house\n"), "prompts.txt.gz")

    check_headers(answer)
    found = answer.json()
    assert found["name"] == "prompts.txt.gz"
    page = sent(visit, PREVIEW, file_id=found["file_id"])
    assert "Its first 2 prompts" in page.text


# Whose it is


def test_somebody_elses_file_is_not_there(api: ApiServer, visit: Visit, stranger: Visit) -> None:
    file_id = upload(visit, b"a tree", "a.txt").json()["file_id"]
    key = hidden(sent(visit, PREVIEW, file_id=file_id))["key"]
    before = kept(api)

    for path in (PREVIEW, CONFIRM, FORM):
        for foreign in (file_id, "nonsense"):
            page = sent(stranger, path, 404, file_id=foreign, key=key)
            assert "a tree" not in page.text
    assert kept(api) == before


def test_who_may_not_submit_sees_no_form(api: ApiServer) -> None:
    with visiting(api, api.new_key("studio", *OF_A_TENANT - {Scope.SUBMIT})) as reader:
        before = kept(api)
        reader.page(FORM, 403)
        for path in (PREVIEW, CONFIRM, FORM):
            sent(reader, path, 403, prompts="a tree")
        assert upload(reader, b"a tree", "a.txt").status_code == 403
        assert kept(api) == before


def test_who_may_only_submit_is_told_that_it_was_done(api: ApiServer) -> None:
    with visiting(api, api.new_key("studio", Scope.SUBMIT)) as submitter:
        page = sent(submitter, PREVIEW, prompts="a tree")

        done = sent(submitter, CONFIRM, **hidden(page))

    assert any(str(batch_id) in done.text for batch_id in kept(api)[1])


def test_forms_of_other_sites_change_nothing(api: ApiServer, visit: Visit) -> None:
    fields = hidden(sent(visit, PREVIEW, prompts="a tree"))
    before = kept(api)

    for path in (PREVIEW, CONFIRM, FORM):
        files = {"file": ("a.txt", b"x" * 2 * 2**20)} if path == PREVIEW else None
        for token in ("", "f" * 64):
            answer = visit.client.post(path, data={**fields, "form_token": token}, files=files)
            assert answer.status_code == 403
    assert upload(visit, b"a tree", "a.txt", token="").status_code == 403
    as_form = visit.client.post(
        UPLOAD, params={"name": "a.txt"}, data={"form_token": visit.form_token()}
    )
    assert as_form.status_code == 403
    assert kept(api) == before


def test_other_forms_take_no_files(visit: Visit) -> None:
    answer = visit.client.post(
        CONFIRM, data={"form_token": visit.form_token()}, files={"file": ("a.txt", b"a tree")}
    )

    assert answer.status_code == 400


def test_a_form_without_its_key_is_no_batch(api: ApiServer, visit: Visit) -> None:
    fields = hidden(sent(visit, PREVIEW, prompts="a tree"))
    before = kept(api)

    for wrong in ("", "x", "\N{SNOWMAN}" * 500):
        visit.post(CONFIRM, 422, **{**fields, "key": wrong})
    visit.post(CONFIRM, 422, **{**fields, "steps": "many"})
    assert kept(api) == before


def test_what_is_too_large_is_refused(visit: Visit) -> None:
    answer = visit.client.post(
        PREVIEW, data={"form_token": visit.form_token(), "prompts": "x" * (16 * 2**20)}
    )

    assert answer.status_code == 413
