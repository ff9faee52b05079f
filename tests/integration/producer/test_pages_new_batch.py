"""A new batch from its page: what is shown before it is confirmed, and what then comes of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from producer.dashboard.new_batch_form import BOXES, OPTIONS
from shared.clock import utc_now
from shared.db.api_tables import BatchRequest, StoredFile
from shared.db.rates import record_rates
from shared.domain.access import OF_A_TENANT, Scope
from shared.domain.rates import Measured, Shape
from support.api import ApiServer
from support.factories import add_worker
from support.visits import Document, Visit, check_headers, visiting

SECOND = 10**9
PREVIEW, CONFIRM, FORM = "/batches/new/preview", "/batches/new/confirm", "/batches/new"
UPLOAD = "/batches/new/file"
MARKUP = "<script>alert(1)</script>'><img src=x onerror=alert(1)>"
HOSTILE = f'{MARKUP}">{MARKUP}'
"""The quote would be escaped in the name of a file."""


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


def sent(
    visit: Visit,
    path: str,
    status: int = 200,
    *,
    file: tuple[str, bytes] | None = None,
    **fields: str,
) -> Document:
    """Send a form with parts, as a browser does, and read the page that comes."""
    data = {"form_token": visit.form_token(), **fields}
    parts = {"file": file or ("", b"")}
    answer = visit.client.post(path, data=data, files=parts)
    assert answer.status_code == status, answer.text[:2000]
    check_headers(answer)
    page = Document(answer.text)
    assert not page.faults()
    return page


def hidden(page: Document) -> dict[str, Any]:
    """Return the fields of the form that confirms."""
    return {
        one.attributes["name"]: one.attributes["value"]
        for one in page.all("input", type="hidden")
        if one.attributes["name"] != "form_token"
    }


def values(page: Document) -> Mapping[str, str]:
    """Return what a form's inputs say."""
    return {
        one.attributes["name"]: one.attributes.get("value", "")
        for one in page.all("input")
        if "name" in one.attributes
    }


def confirmed(visit: Visit, page: Document) -> str:
    """Confirm what a page shows; returns the batch's id."""
    return visit.post(CONFIRM, **hidden(page)).headers["location"].rpartition("/")[2]


def asked_for(api: ApiServer, key: str, batch_id: str) -> dict[str, object]:
    """Return a batch once its file was read."""
    with api.client(key) as client:
        for _ in range(400):
            found: dict[str, object] = client.get(f"/api/batches/{batch_id}").json()
            if found["state"] != "validating":
                return found
            client.get(f"/api/batches/{batch_id}")
    raise AssertionError(found)


def kept(api: ApiServer) -> tuple[set[UUID], set[UUID]]:
    """Return the ids of all files, and of all batches that were asked for, whoever's they are."""
    with api.database.read() as session:
        files, batches = (
            set(session.scalars(select(owned.id))) for owned in (StoredFile, BatchRequest)
        )
    return files, batches


# The form


def test_the_form_has_a_labelled_field_for_each_option(visit: Visit) -> None:
    page = visit.page(FORM)

    named = {
        one.attributes["name"]: one
        for tag in ("input", "select", "textarea")
        for one in page.all(tag)
        if "name" in one.attributes
    }
    assert named.keys() >= {*OPTIONS, *BOXES.keys() - {"unchecked"}, "prompts", "file"}
    labels = {one.attributes["for"] for one in page.all("label") if "for" in one.attributes}
    assert labels >= {*OPTIONS, "prompts", "file", "format"}
    assert "emoji-64" in page.text


def test_a_link_fills_the_form_in(visit: Visit) -> None:
    again = {"prompt": HOSTILE, "seed": "7", "squeeze": "10,6", "negative_prompt": HOSTILE}

    page = visit.page(FORM, params={**again, "nonsense": "1"})

    said = values(page)
    assert {name: said[name] for name in ("seed", "squeeze")} == {"seed": "7", "squeeze": "10,6"}
    assert said["negative_prompt"] == HOSTILE
    assert "".join(page.all("textarea", name="prompts")[0].text).strip() == HOSTILE
    assert "open" in page.all("details")[0].attributes


# Preview and confirmation


def test_pasted_prompts_are_shown_and_then_drawn_as_they_were_shown(
    api: ApiServer, visit: Visit, key: str
) -> None:
    page = sent(
        visit,
        PREVIEW,
        prompts="a red apple\r\n\r\na green pear\r\n",
        seed="5",
        n="2",
        negative_prompt="a plate",
        tags="campaign=spring\r\nowner=ann",
    )

    assert page.buttons[-2:] == ["Submit 4 images", "Change something"]
    assert "a red apple without a plate" in page.text
    assert "Its first 2 prompts" in page.text
    assert "64 \N{MULTIPLICATION SIGN} 64" in page.text
    batch = asked_for(api, key, confirmed(visit, page))
    assert batch["name"] == "a red apple"
    assert batch["total"] == 4
    assert batch["tags"] == {"campaign": "spring", "owner": "ann"}


def test_nothing_is_a_batch_before_it_is_confirmed(api: ApiServer, visit: Visit) -> None:
    sent(visit, PREVIEW, prompts="a tree")
    before = kept(api)

    # Nor is what was pasted kept twice.
    sent(visit, PREVIEW, prompts="a tree")
    assert kept(api) == before


def test_the_same_form_twice_is_one_batch(visit: Visit) -> None:
    page = sent(visit, PREVIEW, prompts="a tree")

    assert confirmed(visit, page) == confirmed(visit, page)
    # Whoever previews it anew wants another.
    assert confirmed(visit, sent(visit, PREVIEW, prompts="a tree")) != confirmed(visit, page)


def test_a_file_is_read_by_its_name_and_its_bad_lines_are_listed(
    api: ApiServer, visit: Visit, key: str
) -> None:
    lines = [
        json.dumps({"prompt": "a boat", "seed": 11, "custom_id": "boat"}),
        json.dumps({"prompt": "a car", "steps": 0}),
        f"not JSON {HOSTILE}",
        *(json.dumps({"prompt": f"number {number}"}) for number in range(12)),
        *["{}"] * 30,
    ]

    page = sent(visit, PREVIEW, file=("of spring.jsonl", "\n".join(lines).encode()))

    assert "of spring.jsonl" in page.text
    assert "read as jsonl" in page.text
    assert "Its first 10 prompts" in page.text
    assert "32 lines are bad and will be left out" in page.text
    assert "the first 20 of them" in page.text
    assert "must be greater than or equal to 1" in page.text
    batch = asked_for(api, key, confirmed(visit, page))
    assert (batch["name"], batch["total"]) == ("of spring.jsonl", 13)


def test_bad_lines_refuse_all_if_that_is_asked_for(visit: Visit) -> None:
    page = sent(visit, PREVIEW, 422, prompts='{"prompt": "a boat"}\n{}', whole="on")

    assert "All of it would be refused, for 1 line of it is bad" in page.text
    assert page.buttons[-1:] == ["Change something"]
    assert not page.all("form", action=CONFIRM)


def test_a_file_of_bad_lines_alone_cannot_be_submitted(visit: Visit) -> None:
    page = sent(visit, PREVIEW, 422, prompts='{"seed": 1}')

    assert "No line of it can be drawn" in page.text
    assert not page.all("form", action=CONFIRM)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("a, b\nc", "text"),
        ('{"prompt": "a"}', "jsonl"),
        ("seed,prompt\n1,a", "csv"),
        ("seed\tprompt\n1\ta", "tsv"),
    ],
)
def test_the_format_of_what_is_pasted_is_told_by_how_it_begins(
    visit: Visit, text: str, known: str
) -> None:
    assert f"read as {known} " in sent(visit, PREVIEW, prompts=text).text


def test_who_changes_something_has_all_that_was_typed(visit: Visit) -> None:
    page = sent(visit, PREVIEW, prompts="a tree\na house", seed="9", reuse="on", name=HOSTILE)

    form = sent(visit, FORM, **hidden(page))

    said = values(form)
    assert (said["seed"], said["name"], said["file_id"]) == ("9", HOSTILE, "")
    assert "checked" in form.all("input", name="reuse")[0].attributes
    assert "".join(form.all("textarea", name="prompts")[0].text).split("\n")[1:3] == [
        "a tree",
        "a house",
    ]


# The quote


def test_without_a_measurement_it_says_why_there_is_no_quote(visit: Visit) -> None:
    page = sent(visit, PREVIEW, prompts="a tree", model="sd-1.5")

    assert "There is no quote yet: nothing is known yet of how long" in page.text
    assert "Submit 1 image" in page.buttons


def test_what_was_measured_is_quoted(api: ApiServer, visit: Visit) -> None:
    with api.database.write() as session:
        now = utc_now()
        worker = add_worker(session, device_kind="cpu", sku="", started_at=now)
        worker.model = "emoji-64"
        measured = Measured(100, 100 * SECOND, 100 * 1_000_000, 200 * SECOND)
        record_rates(session, worker.id, {Shape(64, 64, 10, is_guided=True): measured}, now)

    page = sent(visit, PREVIEW, prompts="\n".join(f"number {number}" for number in range(500)))

    assert "What it would cost" in page.text
    assert "the workers that are alive" in page.text
    assert "cpu" in page.text
    assert "measured on 100 images" in page.text
    assert "at an example price" in page.text


# What is wrong


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("steps", "many", "valid integer"),
        ("width", "65", "multiple of 8"),
        ("squeeze", "99,98,97", ""),
        ("guidance_scale", "nan", "finite"),
        ("priority", "5000", "less than or equal to 1000"),
        ("deadline_hours", "0", "greater than 0"),
        ("max_cost_usd", "lots", ""),
        ("tags", "spring", "is not KEY=VALUE"),
        ("sample", "3", "sample goes with hold"),
        ("model", HOSTILE, ""),
        ("scheduler", "none-such", ""),
        ("format", "docx", "none of the formats"),
    ],
)
def test_a_wrong_option_is_told_beside_its_field_with_all_else_still_there(
    visit: Visit, name: str, text: str, words: str
) -> None:
    fields: dict[str, Any] = {"prompts": "a tree\na house", "seed": "9", "hold": "on", name: text}
    if name == "sample":
        del fields["hold"]

    page = sent(visit, PREVIEW, 422, **fields)

    told = [one for one in page.all("p") if one.attributes.get("id") == f"{name}-wrong"]
    if name != "squeeze":
        assert words in "".join(told[0].text)
    said = values(page)
    assert said["seed"] == "9"
    if name not in {"tags", "model", "scheduler", "format"}:
        assert said[name] == text
    assert "a house" in "".join(page.all("textarea", name="prompts")[0].text)


@pytest.mark.parametrize("name", ["notes.docx", "prompts.jsonl.gz", "prompts.parquet"])
def test_a_file_that_cannot_be_read_is_told_beside_it(visit: Visit, name: str) -> None:
    page = sent(visit, PREVIEW, 422, file=(name, b"a tree"), seed="9")

    assert [one for one in page.all("p") if one.attributes.get("id") == "file-wrong"]
    assert values(page)["seed"] == "9"


def test_a_file_stays_uploaded_while_an_option_is_put_right(visit: Visit) -> None:
    wrong = sent(visit, PREVIEW, 422, file=(f"{MARKUP}.txt", b"a tree"), steps="many")
    file_id = values(wrong)["file_id"]

    page = sent(visit, PREVIEW, file_id=file_id, steps="12")

    assert f"{MARKUP}.txt" in wrong.text
    assert "12 steps" in page.text


def test_pasted_prompts_take_the_place_of_a_file_that_was_uploaded_before(visit: Visit) -> None:
    wrong = sent(visit, PREVIEW, 422, file=("a.txt", b"a tree"), steps="many")

    page = sent(visit, PREVIEW, file_id=values(wrong)["file_id"], prompts="a house")

    assert "a house" in page.text
    assert "a tree" not in page.text


def test_without_prompts_or_with_two_sources_nothing_is_read(visit: Visit) -> None:
    nothing = sent(visit, PREVIEW, 422, prompts=" \r\n ")
    both = sent(visit, PREVIEW, 422, prompts="a tree", file=("a.txt", b"a house"))

    assert "paste prompts, or choose a file" in nothing.text
    assert "give only one" in both.text


def test_a_large_file_is_shown_by_its_begin_and_can_be_submitted(
    visit: Visit,
) -> None:
    text = "".join(f"number {number} {'x' * 8_000}\n" for number in range(8_600)).encode()

    uploaded = upload(visit, text, "large.txt").json()
    page = sent(visit, PREVIEW, file_id=uploaded["file_id"])

    assert uploaded["bytes"] == len(text) > 64 * 2**20
    assert "it is counted and quoted when it is submitted" in page.text
    assert "number 9 x" in page.text
    assert "Submit all of it" in page.buttons
    assert "Bad lines" not in page.text


# A file that a script sends


def upload(visit: Visit, body: bytes, name: str, token: str | None = None) -> httpx.Response:
    return visit.client.post(
        UPLOAD,
        params={"name": name},
        content=body,
        headers={"X-Form-Token": visit.form_token() if token is None else token},
    )


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
