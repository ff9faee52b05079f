"""The page of one batch: its images as they arrive, what its buttons do, what it sends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from io import BytesIO
from typing import Any
from uuid import UUID

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent
from pyarrow import parquet

from producer.batch_options import BatchOptions
from producer.inline_batches import submit_inline
from shared.storage.base import thumbnail_key
from support.api import ApiServer
from support.drawn import arrive, fail_first
from support.factories import START, add_batch, jobs_of
from support.visits import Document, Visit, visiting

LINES: Sequence[Any] = ["a red apple", {"prompt": "a green pear", "custom_id": "pear"}, "a fig"]


@pytest.fixture(scope="module")
def visit(api: ApiServer) -> Iterator[Visit]:
    """Somebody on the host of a server without keys, who may do everything."""
    with visiting(api) as visit:
        yield visit


def submitted(api: ApiServer, lines: Sequence[Any] = LINES, **options: object) -> UUID:
    chosen = BatchOptions.model_validate(options)
    return submit_inline(api.services, chosen, lines, tenant="default", key=None).batch_id


def states_of(api: ApiServer, batch_id: UUID) -> Sequence[str]:
    with api.database.read() as session:
        return [job.state for job in jobs_of(session, batch_id)]


# Images as they arrive


def shown_on(page: Document) -> list[str]:
    links = (one.attributes["href"] for one in page.all("a"))
    return [link.removeprefix("/jobs/") for link in links if link.startswith("/jobs/")]


def older_than(page: Document) -> str:
    link = page.all("a", data_more="")
    return link[0].attributes["href"].partition("?")[2].partition("#")[0] if link else ""


def test_images_are_shown_newest_first_without_gaps_while_more_arrive(
    api: ApiServer, visit: Visit
) -> None:
    with api.database.write() as session:
        batch_id = add_batch(session, jobs=280).id
    here = f"/batches/{batch_id}"
    assert "No image yet." in visit.page(here).text
    early = arrive(api, batch_id, 250, START)

    page = visit.page(f"{here}/images")
    newest = page.all("ol")[0].attributes["data-newest"]
    shown = shown_on(page)
    late = arrive(api, batch_id, 30, START + timedelta(hours=1))
    while older := older_than(page):
        page = visit.page(f"{here}/images?{older}")
        shown += shown_on(page)

    assert shown == list(reversed(early))
    answer = visit.get(f"{here}/images", params={"after": newest})
    assert shown_on(Document(answer.text)) == list(reversed(late))
    newest = Document(answer.text).all("ol")[0].attributes["data-newest"]
    assert shown_on(Document(visit.get(f"{here}/images", params={"after": newest}).text)) == []


def test_more_images_than_a_page_that_arrive_at_once_are_all_fetched(
    api: ApiServer, visit: Visit
) -> None:
    with api.database.write() as session:
        batch_id = add_batch(session, jobs=300).id
    here = f"/batches/{batch_id}/images"
    first = arrive(api, batch_id, 10, START)
    seen = Document(visit.get(here).text)
    later = arrive(api, batch_id, 290, START + timedelta(hours=1))

    shown = shown_on(seen)
    while True:
        newest = seen.all("ol")[0].attributes["data-newest"]
        seen = Document(visit.get(here, params={"after": newest}).text)
        if not shown_on(seen):
            break
        shown = shown_on(seen) + shown

    assert shown == [*reversed(later), *reversed(first)]


def test_the_page_shows_older_images_without_scripts(api: ApiServer, visit: Visit) -> None:
    with api.database.write() as session:
        batch_id = add_batch(session, jobs=150).id
    arrived = arrive(api, batch_id, 150, START)
    here = f"/batches/{batch_id}"

    page = visit.page(here)
    assert shown_on(page) == list(reversed(arrived[50:]))
    older = visit.page(f"{here}?{older_than(page)}")

    assert shown_on(older) == list(reversed(arrived[:50]))


@pytest.mark.parametrize("place", ["x", "~", "2030-01-02T00:00:00~1", "%00", "x" * 65])
def test_a_place_among_images_that_is_none_is_refused(
    api: ApiServer, visit: Visit, place: str
) -> None:
    with api.database.write() as session:
        batch_id = add_batch(session).id
    for side in ("before", "after"):
        visit.page(f"/batches/{batch_id}/images?{side}={place}", 422)


# Thumbnails and files


@pytest.fixture(scope="module")
def drawn(api: ApiServer, visit: Visit) -> str:
    """A batch whose images are there."""
    lines = "".join(f"{json.dumps({'prompt': f'a fig {number}'})}\n" for number in range(3))
    with api.client() as client, api.drawing():
        made = client.post(
            "/api/batches",
            content=f"{lines}{{\n",
            params={"name": "fruit"},
            headers={"Content-Type": "application/x-ndjson"},
        )
        batch_id: str = made.raise_for_status().json()["batch_id"]
        assert events(visit, f"/batches/{batch_id}/live")[-1].event == "end"
    return batch_id


def test_a_thumbnail_is_sent_once_and_made_anew_where_it_is_missing(
    api: ApiServer, visit: Visit, drawn: str
) -> None:
    source = visit.page(f"/batches/{drawn}").all("img", loading="lazy")[0].attributes["src"]
    image = visit.get(source.replace("thumbnail.webp", "image.png"))
    assert image.headers["content-type"] == "image/png"
    thumbnail = visit.get(source)

    assert thumbnail.headers["content-type"] == "image/webp"
    assert thumbnail.content[8:12] == b"WEBP"
    assert thumbnail.headers["cache-control"] == "private, max-age=86400, immutable"
    for answer in (thumbnail, image):
        etag = {"If-None-Match": answer.headers["etag"]}
        same = visit.get(str(answer.request.url), 304, headers=etag)
        assert (same.content, same.headers["etag"]) == (b"", answer.headers["etag"])
        visit.get(str(answer.request.url), headers={"If-None-Match": '"another"'})
    key = thumbnail_key(thumbnail.headers["etag"].strip('"'))
    api.store.delete(key)
    assert visit.get(source).content == thumbnail.content
    assert api.store.get(key) == thumbnail.content


def test_what_is_not_drawn_has_no_image(api: ApiServer, visit: Visit) -> None:
    batch_id = submitted(api)
    job = visit.get(f"/batches/{batch_id}/jobs/0", 303).headers["location"]
    for name in ("thumbnail.webp", "image.png"):
        assert "there is no image" in visit.page(f"{job}/{name}", 404).text


def test_downloads_are_what_the_api_sends(api: ApiServer, visit: Visit, drawn: str) -> None:
    here, there = f"/batches/{drawn}", f"/api/batches/{drawn}"
    links = [one.attributes["href"] for one in visit.page(here).all("a", download="")]
    kinds = ["manifest.jsonl", "manifest.parquet", "bill.json", "rejects.jsonl"]
    assert links == [f"{here}/{kind}" for kind in kinds]

    with api.client() as client:
        manifest = lines_of(client.get(f"{there}/manifest"))
        assert lines_of(visit.get(f"{here}/manifest.jsonl")) == manifest
        assert visit.get(f"{here}/bill.json").json() == client.get(f"{there}/bill").json()
        rejects = client.get(f"{there}/rejects").text
        assert visit.get(f"{here}/rejects.jsonl").text == rejects
        assert len(rejects.splitlines()) == 1
    table = parquet.read_table(BytesIO(visit.get(f"{here}/manifest.parquet").content))
    assert table.column("prompt").to_pylist() == [line["prompt"] for line in manifest]
    named = visit.get(f"{here}/bill.json").headers["content-disposition"]
    assert named == f'attachment; filename="{drawn}.bill.json"'
    series = visit.get(f"{here}/series").json()
    assert sum(series["done"]) == 3


def lines_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """Read JSON Lines, but for URLs that end at some second."""
    return [json.loads(line) | {"image_url": None} for line in answer.text.splitlines()]


# Decisions


def test_a_batch_is_paused_resumed_and_called_off(api: ApiServer, visit: Visit) -> None:
    batch_id = submitted(api)
    here = f"/batches/{batch_id}"

    visit.post(f"{here}/pause")
    assert {"Resume", "Cancel"} <= set(visit.page(here).buttons)
    visit.post(f"{here}/resume")
    assert {"Pause", "Cancel"} <= set(visit.page(here).buttons)
    visit.post(f"{here}/cancel")

    assert states_of(api, batch_id) == ["cancelled"] * 3
    assert not {"Pause", "Resume", "Cancel"} & set(visit.page(here).buttons)
    assert visit.post(f"{here}/resume", 422).text


@pytest.mark.parametrize(("decision", "state"), [("approve", "pending"), ("reject", "cancelled")])
def test_what_is_held_is_drawn_or_called_off(
    api: ApiServer, visit: Visit, decision: str, state: str
) -> None:
    batch_id = submitted(api, hold=True)
    here = f"/batches/{batch_id}"
    assert {"Draw the 3 held", "Call off the held"} <= set(visit.page(here).buttons)

    visit.post(f"{here}/{decision}")

    assert states_of(api, batch_id) == [state] * 3


def test_what_failed_for_one_reason_is_tried_again_and_the_rest_is_not(
    api: ApiServer, visit: Visit
) -> None:
    batch_id = submitted(api, ["a fox"] * 5)
    fail_first(api, batch_id, ["broken", "flagged", "broken", "flagged"])
    here = f"/batches/{batch_id}"
    assert "Try all 4 again" in visit.page(here).buttons

    visit.post(f"{here}/retry", code="broken")
    assert states_of(api, batch_id) == ["pending", "failed", "pending", "failed", "pending"]
    visit.post(f"{here}/retry", code="unheard-of")
    assert states_of(api, batch_id).count("failed") == 2
    visit.post(f"{here}/retry")

    assert states_of(api, batch_id) == ["pending"] * 5


def test_one_job_is_called_off_and_tried_again(api: ApiServer, visit: Visit) -> None:
    batch_id = submitted(api)
    job = visit.get(f"/batches/{batch_id}/jobs/1", 303).headers["location"]

    visit.post(f"{job}/cancel")
    assert states_of(api, batch_id) == ["pending", "cancelled", "pending"]
    assert "Try again" in visit.page(job).buttons
    visit.post(f"{job}/retry")

    assert states_of(api, batch_id) == ["pending"] * 3
    assert "Cancel" in visit.page(job).buttons


# Live


def events(visit: Visit, path: str) -> list[ServerSentEvent]:
    """Follow a page to the end of it."""
    with visit.client.stream("GET", path) as answer:
        return list(EventSource(answer).iter_sse())


def test_a_batch_is_followed_from_now_to_its_end(api: ApiServer, visit: Visit) -> None:
    batch_id = submitted(api)
    here = f"/batches/{batch_id}"
    with visit.client.stream("GET", f"{here}/live") as answer:
        assert answer.headers["cache-control"] == "no-store"
        following = EventSource(answer).iter_sse()
        first = next(following)
        visit.post(f"{here}/pause")
        changed = next(following)
        visit.post(f"{here}/cancel")
        rest = list(following)

    told = [first, changed, *rest]
    assert [one.event for one in told] == ["progress"] * 3 + ["end"]
    assert [Document(one.data).buttons for one in told] == [
        ["Pause", "Cancel"],
        ["Resume", "Cancel"],
        [],
        [],
    ]


def test_the_list_is_followed(api: ApiServer, visit: Visit) -> None:
    batch_id = submitted(api, name="a list that is followed")
    with visit.client.stream("GET", "/batches/live?q=that+is+followed") as answer:
        following = EventSource(answer).iter_sse()
        first = next(following)
        visit.post(f"/batches/{batch_id}/pause")
        changed = next(following)

    assert {first.event, changed.event} == {"rows"}
    assert ["waiting" in first.data, "paused" in changed.data] == [True, True]
    assert Document(first.data).all("tr", id=f"batch-{batch_id}")
