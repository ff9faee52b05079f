"""A new batch from its page: what is shown before it is confirmed, and what then comes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from producer.dashboard.new_batch_form import BOXES, OPTIONS
from shared.clock import utc_now
from shared.db.rates import record_rates
from shared.domain.rates import Measured, Shape
from support.api import ApiServer
from support.factories import add_worker
from support.new_batch_forms import (
    CONFIRM,
    FORM,
    PREVIEW,
    asked_for,
    confirmed,
    hidden,
    kept,
    sent,
    upload,
    values,
)
from support.visits import Visit, visiting

SECOND = 10**9
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
        record_rates(
            session, worker.id, worker.model, {Shape(64, 64, 10, is_guided=True): measured}, now
        )

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
